#include "client/prefixctl/terminal_text.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

// What a terminal of `width` columns shows of `text`, which comes in pieces of `piece` bytes.
std::string Shown(int width, const std::string& text, size_t piece) {
  TerminalText wrapped(width);
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) out += wrapped.Add(text.substr(at, piece));
  return out + wrapped.Finish();
}

TEST(TerminalText, WrapsAtWordsWhateverThePieces) {
  for (const size_t piece : {1, 2, 3, 7, 100}) {
    EXPECT_EQ(Shown(10, "the quick brown fox jumps", piece), "the quick\nbrown fox\njumps");
  }
}

TEST(TerminalText, FillsALineToItsLastColumn) {
  EXPECT_EQ(Shown(9, "the quick brown", 1), "the quick\nbrown");
  EXPECT_EQ(Shown(8, "the quick brown", 1), "the\nquick\nbrown");
}

TEST(TerminalText, HoldsBackOnlyTheLastWord) {
  TerminalText text(40);
  EXPECT_EQ(text.Add("one tw"), "one");
  EXPECT_EQ(text.Add("o three "), " two three");
  EXPECT_EQ(text.Finish(), " ");
}

TEST(TerminalText, KeepsLineFeedsAndIndentation) {
  EXPECT_EQ(Shown(20, "a:\n  - b\n\n  - c\n", 1), "a:\n  - b\n\n  - c\n");
}

TEST(TerminalText, CutsAWordLongerThanALine) {
  EXPECT_EQ(Shown(4, "abcdefghij", 1), "abcd\nefgh\nij");
}

TEST(TerminalText, NeverTearsACharacter) {
  TerminalText text(0);
  EXPECT_EQ(text.Add("\xF0\x9F"), "");
  EXPECT_EQ(text.Add("\x90\xB1!"), "\xF0\x9F\x90\xB1!");
  EXPECT_EQ(text.Add("\xE2\x82"), "");
  EXPECT_EQ(text.Finish(), "\xEF\xBF\xBD");
}

TEST(TerminalText, CountsWideCharactersAsTwoColumnsAndPartsThem) {
  EXPECT_EQ(Shown(5, "日本語です", 1), "日本\n語で\nす");
}

TEST(TerminalText, LeavesOutWhatCouldDriveTheTerminal) {
  EXPECT_EQ(Shown(0,
                  "a\033[2Jb\x07\x7F\xC2\x9B"
                  "c\n\td",
                  100),
            "a[2Jbc\n\td");
  EXPECT_EQ(Shown(0, "bad \xFF byte", 100), "bad \xEF\xBF\xBD byte");
}

}  // namespace
}  // namespace prefixd::ctl
