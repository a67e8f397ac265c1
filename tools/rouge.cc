#include "tools/rouge.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/str_split.h"

namespace prefixd {
namespace {

using Sentence = std::vector<absl::string_view>;
using Words = std::set<absl::string_view>;

// The bytes of the white space that `text` begins with, as Python's str.split() sees it; 0: none.
size_t SpaceSize(absl::string_view text) {
  const auto byte = [text](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const uint8_t first = byte(0);
  if ((first >= 0x09 && first <= 0x0D) || (first >= 0x1C && first <= 0x20)) return 1;
  if (first == 0xC2) return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;  // U+0085, U+00A0.
  const uint32_t three = (uint32_t{first} << 16) | (uint32_t{byte(1)} << 8) | byte(2);
  const bool space = three == 0xE19A80 ||                         // U+1680.
                     (three >= 0xE28080 && three <= 0xE2808A) ||  // U+2000 .. U+200A.
                     three == 0xE280A8 || three == 0xE280A9 ||    // U+2028, U+2029.
                     three == 0xE280AF || three == 0xE2819F ||    // U+202F, U+205F.
                     three == 0xE38080;                           // U+3000.
  return space ? 3 : 0;
}

Sentence WordsOf(absl::string_view part) {
  Sentence words;
  size_t begin = 0, at = 0;
  while (at < part.size()) {
    const size_t space = SpaceSize(part.substr(at));
    if (space > 0 && at > begin) words.push_back(part.substr(begin, at - begin));
    at += std::max<size_t>(space, 1);
    if (space > 0) begin = at;
  }
  if (begin < part.size()) words.push_back(part.substr(begin));
  if (words.empty()) words.push_back("");
  return words;
}

std::vector<Sentence> SentencesOf(absl::string_view text) {
  std::vector<Sentence> sentences;
  for (const absl::string_view part : absl::StrSplit(text, '.', absl::SkipEmpty())) {
    sentences.push_back(WordsOf(part));
  }
  return sentences;
}

size_t CountDistinct(const std::vector<Sentence>& sentences) {
  Words words;
  for (const Sentence& sentence : sentences) words.insert(sentence.begin(), sentence.end());
  return words.size();
}

// Adds the words of one longest common subsequence; which one matters and is the package's.
void AddCommon(const Sentence& reference, const Sentence& candidate, Words* common) {
  const size_t width = candidate.size() + 1;
  std::vector<int32_t> table((reference.size() + 1) * width, 0);  // [i][j]: of the first i and j.
  const auto at = [&table, width](size_t i, size_t j) -> int32_t& { return table[i * width + j]; };
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j <= candidate.size(); ++j) {
      at(i, j) = reference[i - 1] == candidate[j - 1] ? at(i - 1, j - 1) + 1
                                                      : std::max(at(i - 1, j), at(i, j - 1));
    }
  }
  size_t i = reference.size(), j = candidate.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate[j - 1]) {
      common->insert(reference[i - 1]);
      --i;
      --j;
    } else if (at(i - 1, j) > at(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
}

}  // namespace

RougeScore RougeL(absl::string_view candidate, absl::string_view reference) {
  const std::vector<Sentence> candidates = SentencesOf(candidate);
  const std::vector<Sentence> references = SentencesOf(reference);
  if (candidates.empty() || references.empty()) return {};
  Words common;
  for (const Sentence& reference_sentence : references) {
    for (const Sentence& candidate_sentence : candidates) {
      AddCommon(reference_sentence, candidate_sentence, &common);
    }
  }
  const double overlap = static_cast<double>(common.size());
  RougeScore score;
  score.recall = overlap / static_cast<double>(CountDistinct(references));
  score.precision = overlap / static_cast<double>(CountDistinct(candidates));
  // In the package's order of operations.
  score.f = 2.0 * ((score.precision * score.recall) / (score.precision + score.recall + 1e-8));
  return score;
}

}  // namespace prefixd
