// Find and Peek.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/column.h"
#include "cache/prefix_index.h"
#include "cache/prefix_node.h"

namespace prefixd {
namespace {

// Columns that are asked for together. Every bucket and every node is a cache miss of its own;
// asking for all buckets and then for all nodes is faster than doing so while comparing.
constexpr int32_t kBatch = 64;

void PrefetchNode(const PrefixNode* node, int num_lines) {
  const char* line = reinterpret_cast<const char*>(node);
  for (int i = 0; i < num_lines; ++i) __builtin_prefetch(line + 64 * i);
}

// Without branches and calls.
bool Same(const ContentKey& a, const ContentKey& b) {
  uint64_t difference = 0;
  for (size_t i = 0; i < sizeof(ContentKey); i += 8) {
    uint64_t x, y;
    std::memcpy(&x, &a[i], 8);
    std::memcpy(&y, &b[i], 8);
    difference |= x ^ y;
  }
  return difference == 0;
}

}  // namespace

PrefixIndex::Node* PrefixIndex::FindColumn(const ContentKey& key, const Node* parent,
                                           const ColumnView& column, uint64_t* collisions) const {
  return columns_.Find(Tag(key), [&](const Node* node) {
    if (!(options_.key_bits == 256 ? Same(node->key, key) : node->key == Cut(key))) return false;
    const bool same_parent = node->parent == parent || PREFIXD_PLANTED(kParentNotCompared);
    if (same_parent && SameContent(node->content(), column)) return true;
    ++*collisions;
    return false;
  });
}

void PrefixIndex::Prefetch(absl::Span<const ContentKey> keys, bool with_media) const {
  for (const ContentKey& key : keys) columns_.Prefetch(Tag(key));
  for (const ContentKey& key : keys) {
    const Node* node = columns_.First(Tag(key));
    if (node == nullptr) break;  // Nor will any later column match.
    PrefetchNode(node, &key == &keys.back() ? 4 : with_media ? 3 : 2);
  }
}

PrefixIndex::Walked PrefixIndex::Walk(Node* from, TokenView tokens,
                                      absl::Span<const ContentKey> keys, int32_t num_tokens) const {
  const int32_t end = num_tokens / kSlotsPerPage;
  PREFIXD_CHECK(keys.size() >= static_cast<size_t>(end));
  Walked walked = {from, nullptr, 0, 0};
  ColumnReader reader(tokens);
  int32_t column = from->depth;
  for (int32_t asked = column; column < end; ++column) {
    if (column == asked) {
      asked = std::min(column + kBatch, end);
      Prefetch(keys.subspan(column, asked - column), !tokens.media.empty());
    }
    Node* next = FindColumn(keys[column], walked.last, reader.Read(column), &walked.collisions);
    if (next == nullptr) break;
    walked.last = next;
  }
  const int32_t rest = std::min(num_tokens - column * kSlotsPerPage, kSlotsPerPage);
  if (rest > 0) WalkPartial(reader.Read(column, rest), &walked);
  return walked;
}

void PrefixIndex::WalkPartial(const ColumnView& rest, Walked* walked) const {
  // A whole column that the keys did not find is taken as partial.
  const auto& children = walked->last->children;
  const auto consider = [&](Node* child) {
    const int32_t same = std::min(CommonTokens(child->content(), rest), kSlotsPerPage - 1);
    if (same <= walked->partial_tokens) return;
    walked->partial = child;
    walked->partial_tokens = same;
    if (PREFIXD_PLANTED(kPartialOneTooLong) && same < std::min(rest.size, kSlotsPerPage - 1)) {
      ++walked->partial_tokens;
    }
  };
  const auto after = children.lower_bound(rest);
  if (after != children.end()) consider(*after);
  if (after != children.begin()) consider(*std::prev(after));
}

MissReason PrefixIndex::WhyNotMore(const Walked& walked, absl::Span<const ContentKey> keys) const {
  const size_t next = walked.last->depth;
  if (next < keys.size() && ghosts_.Contains(Tag(keys[next]))) return MissReason::kEvicted;
  return walked.last->is_leaf() ? MissReason::kNotCached : MissReason::kDiverged;
}

PrefixIndex::Match PrefixIndex::Find(const Pin& from, TokenView tokens,
                                     absl::Span<const ContentKey> keys, int32_t max_tokens) {
  PREFIXD_CHECK(from.index_ == this);
  const int32_t limit = std::min(max_tokens, static_cast<int32_t>(tokens.ids.size()));
  PREFIXD_CHECK(limit / kSlotsPerPage >= from.node()->depth);
  const Walked walked = Walk(from.node(), tokens, keys, limit);
  counters_.collisions += walked.collisions;
  Match match;
  match.pin = PinNode(walked.last);
  match.num_columns = walked.last->depth;
  match.partial_tokens = walked.partial_tokens;
  Use(walked.last);
  if (walked.partial != nullptr) {
    match.partial = PinNode(walked.partial);
    Use(walked.partial);
  }
  if (match.num_tokens() < limit) match.reason = WhyNotMore(walked, keys);
  return match;
}

int32_t PrefixIndex::Peek(const ContentKey& root_key, TokenView tokens,
                          absl::Span<const ContentKey> keys, int32_t max_tokens) const {
  const auto root = roots_.find(root_key);
  if (root == roots_.end()) return 0;
  const int32_t limit = std::min(max_tokens, static_cast<int32_t>(tokens.ids.size()));
  const Walked walked = Walk(root->second, tokens, keys, limit);
  return walked.last->depth * kSlotsPerPage + walked.partial_tokens;
}

}  // namespace prefixd
