#include "engine/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/check.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

uint64_t EdgeKey(int32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

bool TouchesWord(absl::string_view text, size_t begin, size_t end) {
  return (begin > 0 && IsWord(CharacterBefore(text, begin).code_point)) ||
         (end < text.size() && IsWord(CharacterAt(text, end).code_point));
}

size_t WhitespaceBegin(absl::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const Character character = CharacterBefore(text, end);
    if (!IsWhitespace(character.code_point)) break;
    end -= character.num_bytes;
  }
  return end;
}

size_t WhitespaceEnd(absl::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Character character = CharacterAt(text, begin);
    if (!IsWhitespace(character.code_point)) break;
    begin += character.num_bytes;
  }
  return begin;
}

}  // namespace

void AddedTokenMatcher::Add(const AddedToken& token, absl::string_view pattern) {
  PREFIXD_CHECK(!pattern.empty());
  first_bytes_.set(static_cast<uint8_t>(pattern[0]));
  int32_t node = 0;
  for (const char byte : pattern) {
    const auto [edge, inserted] =
        edges_.try_emplace(EdgeKey(node, byte), static_cast<int32_t>(token_at_node_.size()));
    if (inserted) token_at_node_.push_back(-1);
    node = edge->second;
  }
  token_at_node_[static_cast<size_t>(node)] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

bool AddedTokenMatcher::IsAllowed(const AddedToken& token, const TracedText& text, size_t begin,
                                  size_t end) const {
  return !token.special || text.OwnerOf(begin, end) != kUntrusted;
}

AddedTokenMatcher::Match AddedTokenMatcher::LongestAt(const TracedText& text,
                                                      size_t position) const {
  Match longest;
  int32_t node = 0;
  for (size_t end = position; end < text.text.size();) {
    const auto edge = edges_.find(EdgeKey(node, text.text[end]));
    if (edge == edges_.end()) break;
    node = edge->second;
    ++end;
    const int32_t index = token_at_node_[static_cast<size_t>(node)];
    if (index < 0) continue;
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    // A special token that only the seam of two spans spells must not hide a real one.
    const bool across_spans = text.owner[position] != text.owner[end - 1];
    if (token.special && across_spans) continue;
    longest = {end, &token};
  }
  return longest;
}

std::vector<AddedTokenMatcher::Segment> AddedTokenMatcher::Split(const TracedText& text) const {
  std::vector<Segment> segments;
  size_t covered = 0;
  for (size_t i = 0; i < text.text.size();) {
    const bool candidate = first_bytes_[static_cast<uint8_t>(text.text[i])];
    const Match match = candidate ? LongestAt(text, i) : Match{};
    if (match.token == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i;
    size_t end = match.end;
    i = match.end;
    const AddedToken& token = *match.token;
    if (!IsAllowed(token, text, begin, end)) continue;
    if (token.single_word && TouchesWord(text.text, begin, end)) continue;
    if (token.lstrip) begin = WhitespaceBegin(text.text, begin, std::min(covered, begin));
    if (token.rstrip) end = WhitespaceEnd(text.text, end);
    if (covered < begin) segments.push_back({covered, begin, std::nullopt});
    segments.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.text.size()) segments.push_back({covered, text.text.size(), std::nullopt});
  return segments;
}

}  // namespace prefixd
