#include <gtest/gtest.h>

#include "sae/base/text.h"

namespace sae {
namespace {

using Words = std::vector<std::string>;

TEST(Text, JoinsAndWraps) {
  EXPECT_EQ(joined({}), "");
  EXPECT_EQ(joined({"one", "two"}), "one, two");
  EXPECT_EQ(joined({"one", "two", "three"}, " or "), "one or two or three");
  EXPECT_EQ(wrapped("a bc def", 4), (Words{"a bc", "def"}));
  EXPECT_EQ(wrapped("a longer word", 3), (Words{"a", "longer", "word"}));
  EXPECT_EQ(wrapped("", 10), Words{""});
}

TEST(Text, QuotesAnythingOnOneLine) {
  EXPECT_EQ(sae::quoted("plain"), "\"plain\"");
  EXPECT_EQ(sae::quoted("two\nlines \"here\""), "\"two\\nlines \\\"here\\\"\"");
  EXPECT_EQ(sae::quoted("\xff"), "\"\ufffd\"");
  EXPECT_EQ(sae::quoted(std::string(70, 'x')), "\"" + std::string(60, 'x') + "...\"");
}

TEST(Text, SaysWhatWasExpectedAndProbablyMeant) {
  const Words names = {"linear", "cosine", "none"};
  EXPECT_EQ(expected_one_of("cosin", names),
            "got \"cosin\", expected one of linear, cosine, none; did you mean 'cosine'?");
  EXPECT_EQ(expected_one_of("step", names), "got \"step\", expected one of linear, cosine, none");
  EXPECT_EQ(did_you_mean("Linear", names), "; did you mean 'linear'?");
  EXPECT_EQ(did_you_mean("", names), "");
}

}  // namespace
}  // namespace sae
