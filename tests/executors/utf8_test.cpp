#include "executors/utf8.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

const std::string r = "\xef\xbf\xbd";

TEST(Utf8Repair, LetsThroughWhatIsUtf8) {
  for (const std::string text : {"", "plain", "caf\xc3\xa9", "\xc2\x80\xdf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
                                 "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x9f\xa4\x96"}) {
    EXPECT_EQ(repair_utf8(text), text);
  }
  EXPECT_EQ(repair_utf8(std::string(1, '\0')), std::string(1, '\0'));
}

// The Unicode Standard, chapter 3.9, tables 3-8 to 3-11.
TEST(Utf8Repair, ReplacesEachMaximalSubpartOnceAsUnicodeShows) {
  EXPECT_EQ(repair_utf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repair_utf8("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repair_utf8("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(repair_utf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), r + r + r + r + "A");
}

TEST(Utf8Repair, ReplacesWhatTheEndCutsOff) {
  for (const char* const cut : {"\xc3", "\xe2\x82", "\xf0\x9f\xa4"}) EXPECT_EQ(repair_utf8("a" + std::string(cut)), "a" + r);
}

TEST(Utf8Repair, GivesTheSameForEverySplitAndOnlyWholeCodePoints) {
  const std::string bytes =
      "a\xc3\xa9\xe2\x82\xac\xf0\x9f\xa4\x96\xc0\xaf\xe0\x80\xed\xa0\x80\xf4\x91\xe1\x80\xe2\xf0\x91\x92\xf1\xbfz\xe2\x82";
  const std::string whole = repair_utf8(bytes);
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = first; second <= bytes.size(); ++second) {
      Utf8Repair repair;
      std::string text;
      for (const std::string& piece : {bytes.substr(0, first), bytes.substr(first, second - first), bytes.substr(second)}) {
        const std::string out = repair.push(piece);
        EXPECT_EQ(repair_utf8(out), out);
        text += out;
      }
      text += repair.finish();
      EXPECT_EQ(text, whole) << first << " " << second;
    }
  }
}

TEST(Utf8Repair, HoldsBackNoMoreThanItMust) {
  Utf8Repair repair;
  EXPECT_EQ(repair.push("a\xf0\x9f"), "a");
  EXPECT_EQ(repair.push("\xa4"), "");
  EXPECT_EQ(repair.push("\x96"), "\xf0\x9f\xa4\x96");
  EXPECT_EQ(repair.push("\xe2"), "");
  EXPECT_EQ(repair.push("b"), r + "b");
  EXPECT_EQ(repair.finish(), "");
}

}  // namespace
}  // namespace p2p::test
