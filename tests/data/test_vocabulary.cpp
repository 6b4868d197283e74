#include <gtest/gtest.h>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/vocabulary.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

class VocabularyFile : public testing::Test {
 protected:
  Vocabulary read(const std::string& text) {
    write_file_atomically(path(), text);
    return Vocabulary(path());
  }

  std::string error_of(const std::string& text) {
    try {
      read(text);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path path() const { return folder_.path() / "vocabulary.json"; }

  static std::string joined(const std::vector<Vocabulary::Piece>& pieces) {
    std::string text;
    for (const auto& piece : pieces) {
      text += "[" + std::to_string(piece.tokens) + " " + piece.text + "]";
    }
    return text;
  }

  /// Bytes of a cat (E7 8C AB) and of an e with an accent (C3 A9); token 4 ends a cat and begins an
  /// e.
  static constexpr const char* kBytes = R"({"format": "sae-vocabulary", "version": 2,
      "tokens": ["the ", "<E7>", "<8C>", "<AB>", "<AB>!<C3>", "<A9>", "", "<7>", "猫"],
      "bytes": {"1": "e7", "2": "8C", "3": "ab", "4": "ab21c3", "5": "a9"}})";

  TemporaryFolder folder_;
};

TEST_F(VocabularyFile, JoinsBytesBeforeItDecodesThem) {
  const Vocabulary words = read(kBytes);
  EXPECT_EQ(words.size(), 9U);
  EXPECT_EQ(words.text(std::vector<std::int32_t>{0, 1, 2, 3, 8}), "the 猫猫");
  EXPECT_EQ(words.text(std::vector<std::int32_t>{1, 2, 4, 5, 0}), "猫!éthe ");
  EXPECT_EQ(words.text(std::vector<std::int32_t>{3, 0, 1, 2}), "<AB>the <E7 8C>");
  EXPECT_EQ(words.text(std::vector<std::int32_t>{1, 0, 2, 9}), "<E7>the <8C><9>");
}

TEST_F(VocabularyFile, NamesATokenByItself) {
  const Vocabulary words = read(kBytes);
  EXPECT_EQ(words.text(4), "<AB>!<C3>");
  EXPECT_EQ(words.text(8), "猫");
  EXPECT_EQ(words.text(9), "<9>");
  EXPECT_EQ(words.text(-1), "<-1>");
}

TEST_F(VocabularyFile, CutsTextWhereCharactersEnd) {
  const Vocabulary words = read(kBytes);
  const auto pieces = [&](std::vector<std::int32_t> tokens) {
    return joined(words.pieces(tokens));
  };
  EXPECT_EQ(pieces({}), "");
  EXPECT_EQ(pieces({0, 8, 0}), "[1 the ][1 猫][1 the ]");
  EXPECT_EQ(pieces({0, 1, 2, 3, 0}), "[1 the ][3 猫][1 the ]");
  EXPECT_EQ(pieces({1, 2, 4, 5, 8}), "[4 猫!é][1 猫]");
  EXPECT_EQ(pieces({1, 6, 2, 3}), "[4 猫]") << "a token without text in between";
  EXPECT_EQ(pieces({2, 3, 1, 2}), "[1 <8C>][1 <AB>][2 <E7 8C>]") << "cut at both ends";
  EXPECT_EQ(pieces({1, 1, 2, 0, 3}), "[1 <E7>][2 <E7 8C>][1 the ][1 <AB>]") << "never completed";
}

TEST_F(VocabularyFile, VersionOneIsTextAlone) {
  const Vocabulary words =
      read(R"({"format": "sae-vocabulary", "version": 1, "tokens": [" café", "<E7>"]})");
  EXPECT_EQ(words.text(std::vector<std::int32_t>{0, 1, 1}), " café<E7><E7>");
  EXPECT_EQ(joined(words.pieces(std::vector<std::int32_t>{0, 1})), "[1  café][1 <E7>]");
}

TEST_F(VocabularyFile, RefusesBytesThatAreNone) {
  const auto with = [](const std::string& bytes) {
    return R"({"format": "sae-vocabulary", "version": 2, "tokens": ["a", "b"], "bytes": )" + bytes +
           "}";
  };
  const std::string place = path().string() + ": ";
  EXPECT_EQ(error_of(with("{}")), "no error");
  EXPECT_EQ(error_of(with("[]")), place + "bytes is not an object");
  EXPECT_EQ(error_of(with(R"({"2": "e7"})")),
            place + "bytes has \"2\", expected the number of one of 2 tokens");
  for (const char* name : {"-1", "", "1 ", "x", "99999999999"}) {
    EXPECT_NE(error_of(with("{\"" + std::string(name) + "\": \"e7\"}")).find("expected the number"),
              std::string::npos)
        << name;
  }
  EXPECT_EQ(error_of(with(R"({"1": 7})")),
            place + "bytes of token 1 are 7, expected hexadecimal digits");
  for (const char* value : {"e", "e7f", "xy", "-1", "e7 "}) {
    EXPECT_NE(error_of(with("{\"1\": \"" + std::string(value) + "\"}")).find("hexadecimal"),
              std::string::npos)
        << value;
  }
  EXPECT_NE(error_of(R"({"format": "sae-vocabulary", "version": 2, "tokens": []})").find("bytes"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"format": "sae-vocabulary", "version": 1, "tokens": [], "bytes": {}})")
                .find("bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace sae
