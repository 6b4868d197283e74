#include <gtest/gtest.h>

#include "base/utf8.h"

namespace sae {
namespace {

TEST(Utf8, HeadsAreCharactersOrBeginThem) {
  for (const std::string whole : {"a", "ж", "猫", "🐕", "\u07ff", "\u0800", "\ud7ff", "\uffff"}) {
    EXPECT_EQ(utf8_head(whole).bytes, whole.size()) << whole;
    EXPECT_TRUE(utf8_head(whole + "b").whole) << whole;
    EXPECT_EQ(utf8_head(whole + "b").bytes, whole.size()) << whole;
    for (std::size_t cut = 1; cut < whole.size(); ++cut) {
      EXPECT_EQ(utf8_head(whole.substr(0, cut)).bytes, cut) << whole;
      EXPECT_FALSE(utf8_head(whole.substr(0, cut)).whole) << whole;
    }
  }
}

TEST(Utf8, SurrogatesLongFormsAndStrayBytesAreNoCharacters) {
  for (const std::string none :
       {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80", "\xff", "\xc3("}) {
    EXPECT_EQ(utf8_head(none).bytes, 0U) << spelt(none);
    EXPECT_FALSE(utf8_head(none).whole) << spelt(none);
  }
  EXPECT_EQ(utf8_head("").bytes, 0U);
}

TEST(Utf8, UnfinishedIsWhatBytesAfterItMayComplete) {
  EXPECT_EQ(unfinished("a\xc3"), "\xc3");
  EXPECT_EQ(unfinished("\xe7\x8c"), "\xe7\x8c");
  EXPECT_EQ(unfinished("猫\xf0\x9f\x90"), "\xf0\x9f\x90");
  for (const char* done : {"", "a", "猫", "\x8c", "\xe7\x8c(", "\xed\xa0", "\xff"}) {
    EXPECT_EQ(unfinished(done), "") << done;
  }
}

TEST(Utf8, BytesBetweenCharactersAreSpelt) {
  EXPECT_EQ(spelt(""), "");
  EXPECT_EQ(spelt("ж 猫"), "ж 猫");
  EXPECT_EQ(spelt("a\xc3"), "a<C3>");
  EXPECT_EQ(spelt("\x95.\xe7\x8c"), "<95>.<E7 8C>");
  EXPECT_EQ(spelt("\xed\xa0\x80猫\xff\xfe"), "<ED A0 80>猫<FF FE>");
}

}  // namespace
}  // namespace sae
