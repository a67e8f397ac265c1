#include "engine/classify/trie_walk.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr double kNoBound = std::numeric_limits<double>::infinity();

}  // namespace

int32_t TrieWalk::SlotsFor(const TokenTrie& trie, int32_t max_rows) {
  const int64_t wanted = static_cast<int64_t>(std::max(max_rows, 1)) + trie.max_depth();
  return static_cast<int32_t>(std::min<int64_t>(trie.num_internal(), wanted));
}

TrieWalk::TrieWalk(const TokenTrie* trie, const Options& options)
    : trie_(trie), num_slots_(options.num_slots), one_at_a_time_(options.one_at_a_time) {
  PREFIXD_CHECK(num_slots_ >= SlotsFor(*trie, 1));
  const size_t num_nodes = trie->nodes().size();
  logprobs_.assign(num_nodes, std::numeric_limits<float>::quiet_NaN());
  scored_.assign(num_nodes, 0);
  pending_.assign(num_nodes, 0);
  slots_.assign(num_nodes, -1);
  ReleaseAllSlots();
  if (options.top == nullptr) {
    RewindOrder();
    return;
  }
  candidates_ = std::make_unique<CandidateBounds>(trie, options.top);
  sums_.assign(num_nodes, 0.0);
  bounds_.assign(num_nodes, kNoBound);
  open_children_.assign(num_nodes, 0);
  done_.assign(num_nodes, 0);
  keeps_slot_.assign(num_nodes, 0);
  for (int32_t i = 1; i < static_cast<int32_t>(num_nodes); ++i) {
    if (trie->is_internal(i)) keeps_slot_[static_cast<size_t>(trie->node(i).parent)] = 1;
  }
}

int32_t TrieWalk::NumReady(int32_t max_rows) const {
  if (scored_[0] == 0 || num_pending_ > 0 || max_rows <= 0) return 0;
  if (searching()) return static_cast<int32_t>(Choose(max_rows).size());
  return static_cast<int32_t>(NumInOrder(max_rows));
}

const TrieWalk::Rows& TrieWalk::Take(int32_t max_rows) {
  PREFIXD_CHECK(num_pending_ == 0);
  rows_.nodes.clear();
  rows_.path_begins.assign(1, 0);
  rows_.path_slots.clear();
  taken_.clear();
  if (NumReady(max_rows) == 0) return rows_;
  if (searching()) {
    taken_ = Choose(max_rows);
    for (const int32_t node : taken_) RemoveReady(node);
    std::sort(taken_.begin(), taken_.end());
  } else {
    const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(next_);
    const size_t count = NumInOrder(max_rows);
    taken_.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
    ReleaseBeforeNext();
    next_ += count;
    live_.insert(live_.end(), taken_.begin(), taken_.end());
  }
  for (const int32_t node : taken_) AppendRow(node);
  return rows_;
}

void TrieWalk::AppendRow(int32_t node) {
  const size_t i = static_cast<size_t>(node);
  PREFIXD_CHECK(!free_slots_.empty() && slots_[i] < 0);
  slots_[i] = free_slots_.back();
  free_slots_.pop_back();
  pending_[i] = 1;
  ++num_pending_;
  ++num_taken_;
  rows_.nodes.push_back(node);
  const int32_t depth = trie_->node(node).depth;
  rows_.path_slots.resize(rows_.path_slots.size() + static_cast<size_t>(depth));
  auto slot = rows_.path_slots.rbegin();
  for (int32_t at = node; at != 0; at = trie_->node(at).parent) {
    PREFIXD_DCHECK(slots_[static_cast<size_t>(at)] >= 0);
    *slot++ = slots_[static_cast<size_t>(at)];
  }
  rows_.path_begins.push_back(static_cast<int32_t>(rows_.path_slots.size()));
}

void TrieWalk::SetChildLogprobs(int32_t node, absl::Span<const float> logprobs) {
  const size_t i = static_cast<size_t>(node);
  if (node != 0) {
    PREFIXD_CHECK(pending_[i] != 0);
    pending_[i] = 0;
    --num_pending_;
  }
  const bool again = scored_[i] != 0;
  scored_[i] = 1;
  if (!again) {
    size_t next = 0;
    for (int32_t c = TokenTrie::first_child(node); c < trie_->node(node).end;
         c = trie_->next_sibling(c)) {
      PREFIXD_CHECK(next < logprobs.size());
      logprobs_[static_cast<size_t>(c)] = std::min(logprobs[next++], 0.0f);
    }
    PREFIXD_CHECK(next == logprobs.size());
  }
  if (!searching() || (again && node == 0)) return;
  if (!again) CompleteChildren(node);
  AddReadyChildren(node);
  if (open_children_[i] == 0) FinishSubtree(node);
  Prune();
}

bool TrieWalk::done() const {
  if (scored_[0] == 0 || num_pending_ > 0) return false;
  return searching() ? best_first_.empty() : next_ == order_.size();
}

void TrieWalk::Rewind() {
  std::fill(pending_.begin(), pending_.end(), 0);
  num_pending_ = 0;
  ReleaseAllSlots();
  if (searching()) {
    RewindSearch();
  } else {
    RewindOrder();
  }
}

absl::Span<const float> TrieWalk::logprobs() const { return logprobs_; }

int64_t TrieWalk::num_taken() const { return num_taken_; }

void TrieWalk::ReleaseSlot(int32_t node) {
  int32_t& slot = slots_[static_cast<size_t>(node)];
  if (slot >= 0) free_slots_.push_back(slot);
  slot = -1;
}

void TrieWalk::ReleaseAllSlots() {
  std::fill(slots_.begin(), slots_.end(), -1);
  free_slots_.resize(static_cast<size_t>(num_slots_));
  std::iota(free_slots_.rbegin(), free_slots_.rend(), 0);  // The lowest is given out first.
}

// All candidates.

size_t TrieWalk::NumInOrder(int32_t max_rows) const {
  if (next_ == order_.size()) return 0;
  // Beside the batch only the ancestors of its first node keep their slots.
  const int32_t free = num_slots_ - (trie_->node(order_[next_]).depth - 1);
  const int32_t rows = std::min(one_at_a_time_ ? 1 : max_rows, free);
  return std::min(order_.size() - next_, static_cast<size_t>(rows));
}

void TrieWalk::ReleaseBeforeNext() {
  const int32_t next = order_[next_];
  size_t kept = 0;
  for (const int32_t node : live_) {
    if (trie_->node(node).end > next) {  // The next comes later in preorder: a descendant.
      live_[kept++] = node;
    } else {
      ReleaseSlot(node);
    }
  }
  live_.resize(kept);
}

void TrieWalk::RewindOrder() {
  // A node is fed if itself or one below it is yet to be scored.
  std::vector<uint8_t> needed(trie_->nodes().size(), 0);
  order_.clear();
  for (int32_t i = static_cast<int32_t>(needed.size()) - 1; i > 0; --i) {
    if (!trie_->is_internal(i)) continue;
    uint8_t& own = needed[static_cast<size_t>(i)];
    if (scored_[static_cast<size_t>(i)] == 0) own = 1;
    if (own == 0) continue;
    needed[static_cast<size_t>(trie_->node(i).parent)] = 1;
    order_.push_back(i);
  }
  std::reverse(order_.begin(), order_.end());
  next_ = 0;
  live_.clear();
}

// The best only.

std::vector<int32_t> TrieWalk::Choose(int32_t max_rows) const {
  const size_t rows =
      std::min(static_cast<size_t>(std::min(max_rows, one_at_a_time_ ? 1 : kSearchRows)),
               free_slots_.size());
  // As long as so many slots are free, the descent below any one node can end. A node without
  // internal children gives its slot back before the next batch and takes nothing from them.
  const size_t reserve = SlotsAreScarce() ? static_cast<size_t>(trie_->max_depth()) - 1 : 0;
  size_t kept = 0;
  std::vector<int32_t> chosen;
  for (const Ready& ready : best_first_) {
    if (chosen.size() == rows) break;
    if (keeps_slot_[static_cast<size_t>(ready.node)] != 0) {
      if (free_slots_.size() < kept + 1 + reserve) break;
      ++kept;
    }
    chosen.push_back(ready.node);
  }
  if (!chosen.empty() || best_first_.empty()) return chosen;
  // One descent at a time from here on: what is deepest is always below the node fed last.
  for (const Ready& ready : deepest_first_) {
    if (chosen.size() == rows) break;
    if (!chosen.empty() && keeps_slot_[static_cast<size_t>(ready.node)] != 0) break;
    chosen.push_back(ready.node);
  }
  PREFIXD_CHECK(!chosen.empty());
  return chosen;
}

TrieWalk::Ready TrieWalk::ReadyOf(int32_t node) const {
  return {
      .bound = bounds_[static_cast<size_t>(node)], .depth = trie_->node(node).depth, .node = node};
}

void TrieWalk::AddReady(int32_t node) {
  best_first_.insert(ReadyOf(node));
  if (SlotsAreScarce()) deepest_first_.insert(ReadyOf(node));
}

void TrieWalk::RemoveReady(int32_t node) {
  best_first_.erase(ReadyOf(node));
  if (SlotsAreScarce()) deepest_first_.erase(ReadyOf(node));
}

void TrieWalk::CompleteChildren(int32_t node) {
  const size_t i = static_cast<size_t>(node);
  for (int32_t c = TokenTrie::first_child(node); c < trie_->node(node).end;
       c = trie_->next_sibling(c)) {
    const size_t child = static_cast<size_t>(c);
    sums_[child] = sums_[i] + static_cast<double>(logprobs_[child]);
    candidates_->Complete(c, sums_[child]);
    if (!trie_->is_internal(c)) continue;
    bounds_[child] = candidates_->BoundBelow(c, sums_[child]);
    ++open_children_[i];
  }
}

void TrieWalk::AddReadyChildren(int32_t node) {
  for (int32_t c = TokenTrie::first_child(node); c < trie_->node(node).end;
       c = trie_->next_sibling(c)) {
    if (trie_->is_internal(c) && done_[static_cast<size_t>(c)] == 0) AddReady(c);
  }
}

void TrieWalk::FinishSubtree(int32_t node) {
  for (;;) {  // Up to the root at most.
    done_[static_cast<size_t>(node)] = 1;
    ReleaseSlot(node);
    if (node == 0) return;
    node = trie_->node(node).parent;
    if (--open_children_[static_cast<size_t>(node)] > 0) return;
  }
}

void TrieWalk::Prune() {
  while (!best_first_.empty()) {
    const Ready worst = *best_first_.rbegin();
    if (!candidates_->CannotMatter(worst.bound)) return;
    RemoveReady(worst.node);
    FinishSubtree(worst.node);
  }
}

void TrieWalk::RewindSearch() {
  best_first_.clear();
  deepest_first_.clear();
  if (scored_[0] == 0) return;
  // A node to be fed again is worth what is left below it.
  for (int32_t i = 1; i < static_cast<int32_t>(bounds_.size()); ++i) {
    if (scored_[static_cast<size_t>(i)] != 0) bounds_[static_cast<size_t>(i)] = -kNoBound;
  }
  for (int32_t i = static_cast<int32_t>(bounds_.size()) - 1; i > 0; --i) {
    const size_t parent = static_cast<size_t>(trie_->node(i).parent);
    if (!trie_->is_internal(i) || scored_[parent] == 0 || done_[static_cast<size_t>(i)] != 0) {
      continue;
    }
    bounds_[parent] = std::max(bounds_[parent], bounds_[static_cast<size_t>(i)]);
  }
  AddReadyChildren(0);
  Prune();
}

}  // namespace prefixd
