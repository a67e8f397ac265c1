#include "client/prefixctl/display_text.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

TEST(DisplayText, ReplacesWhatDrivesATerminalOrBreaksALine) {
  EXPECT_EQ(OneLine("a\x1b[31mb\nc\td\x7f", true), "a\uFFFD[31mb\uFFFDc\uFFFDd\uFFFD");
  EXPECT_EQ(OneLine("a\xC2\x9B"
                    "31m",
                    true),
            "a\uFFFD31m");  // CSI of eight bits.
  EXPECT_EQ(OneLine("a\u202Eb\u2066c\u2028", true), "a\uFFFDb\uFFFDc\uFFFD");
  EXPECT_EQ(OneLine("\xFF"
                    "a\xE2\x82",
                    true),
            "\uFFFDa\uFFFD\uFFFD");  // No UTF-8.
  EXPECT_EQ(OneLine(absl::string_view("a\0b", 3), true), "a\uFFFDb");
  EXPECT_EQ(OneLine("Löwe 猫", true), "Löwe 猫");
}

TEST(DisplayText, IsAsciiWhereTheLocaleIsNoUtf8) {
  EXPECT_EQ(OneLine("Löwe 猫\x1b\xFF", false), "L?we ???");
  EXPECT_EQ(Quoted("Lö", false), "\"L\\xc3\\xb6\"");
}

TEST(DisplayText, CountsColumns) {
  EXPECT_EQ(Columns(""), 0);
  EXPECT_EQ(Columns("Löwe"), 4);
  EXPECT_EQ(Columns("猫"), 2);
  EXPECT_EQ(Columns("e\u0301"), 1);  // A letter and its accent.
  EXPECT_EQ(Columns("\uFFFD"), 1);
}

TEST(DisplayText, CutsOffWhatDoesNotFit) {
  EXPECT_EQ(Fit("lion", 4, true), "lion");
  EXPECT_EQ(Fit("lions", 4, true), "lio…");
  EXPECT_EQ(Fit("lions", 4, false), "lio~");
  EXPECT_EQ(Fit("lions", 1, true), "…");
  EXPECT_EQ(Fit("猫猫猫", 4, true), "猫…");  // Half a character is none.
  EXPECT_EQ(Fit("", 1, true), "");
  EXPECT_EQ(FitTail("photos/cat.jpg", 8, true), "…cat.jpg");
  EXPECT_EQ(FitTail("photos/cat.jpg", 8, false), "~cat.jpg");
  EXPECT_EQ(FitTail("cat.jpg", 8, true), "cat.jpg");
}

TEST(DisplayText, QuotesBytes) {
  EXPECT_EQ(Quoted(" cat", true), "\" cat\"");
  EXPECT_EQ(Quoted("a\"b\\c\n\t\x1b", true), "\"a\\\"b\\\\c\\n\\x09\\x1b\"");
  EXPECT_EQ(Quoted("猫\xE7\x8C", true), "\"猫\\xe7\\x8c\"");  // A part of a character.
}

}  // namespace
}  // namespace prefixd::ctl
