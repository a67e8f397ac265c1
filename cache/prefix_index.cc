#include "cache/prefix_index.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/column.h"
#include "cache/node_pool.h"
#include "cache/prefix_node.h"

namespace prefixd {
namespace {

uint64_t ScoreBytes(const PrefixNode& node) {
  uint64_t floats = node.scores == nullptr ? 0 : node.scores->size();
  if (node.yield != nullptr) floats += node.yield->logprobs.size() + node.yield->last_state.size();
  return floats * sizeof(float);
}

}  // namespace

PrefixIndex::PrefixIndex(const Options& options)
    : options_(options), pool_(std::make_unique<NodePool>()), ghosts_(options.max_ghosts) {
  PREFIXD_CHECK(options.num_layers >= 1);
  PREFIXD_CHECK(options.key_bits >= 1 && options.key_bits <= 256);
}

PrefixIndex::~PrefixIndex() {
  PREFIXD_CHECK(num_pins_ == 0);
  std::vector<Node*> nodes;
  nodes.reserve(columns_.size() + roots_.size());
  ForEachNode([&](Node* node) { nodes.push_back(node); });
  for (Node* node : nodes) pool_->Delete(node);
}

ContentKey PrefixIndex::Cut(const ContentKey& key) const { return CutKey(key, options_.key_bits); }

uint64_t PrefixIndex::Tag(const ContentKey& key) const {
  uint64_t tag;  // Little-endian where this runs; only equality matters.
  std::memcpy(&tag, key.data(), sizeof(tag));
  return options_.key_bits >= 64 ? tag : tag & ((uint64_t{1} << options_.key_bits) - 1);
}

PrefixIndex::Pin PrefixIndex::Root(const ContentKey& root_key, int32_t tenant) {
  PREFIXD_CHECK(tenant >= 0);
  if (static_cast<size_t>(tenant) >= tenants_.size()) tenants_.resize(tenant + 1);
  Node*& root = roots_[root_key];
  if (root == nullptr) {
    root = pool_->New();
    root->key = root_key;
    root->tenant = tenant;
  }
  PREFIXD_CHECK(root->tenant == tenant);
  return PinNode(root);
}

PrefixIndex::Pin PrefixIndex::Publish(const Pin& parent, const ContentKey& key, TokenView tokens,
                                      std::vector<PageRef> pages, uint32_t cost) {
  PREFIXD_CHECK(parent.index_ == this && cost >= 1);
  PREFIXD_CHECK(pages.size() == static_cast<size_t>(options_.num_layers));
  Node* above = parent.node();
  ColumnReader reader(tokens);
  const ColumnView column = reader.Read(above->depth);
  if (Node* equal = FindColumn(key, above, column, &counters_.collisions)) {
    ++counters_.duplicates;
    Pin pin = PinNode(equal);
    Use(equal);
    return pin;
  }
  Node* node = pool_->New();
  std::copy_n(column.ids, kSlotsPerPage, node->ids.begin());
  node->media.assign(column.media.begin(), column.media.end());
  node->key = Cut(key);
  node->parent = above;
  node->tenant = above->tenant;
  node->depth = above->depth + 1;
  node->cost = cost;
  node->pages = std::move(pages);
  node->protections = 1;  // The pin that is returned.
  Protect(above);         // For its new protected child.
  if (above->heap_index != Node::kNotInHeap) tenants_[above->tenant].leaves.Remove(above);
  const bool inserted = above->children.insert(node).second;
  PREFIXD_CHECK(inserted);  // Else the caller gave equal columns different keys.
  columns_.Insert(Tag(key), node);
  ghosts_.Forget(Tag(key));
  tenants_[node->tenant].num_pages += options_.num_layers;
  ++counters_.published;
  ++num_pins_;
  Use(node);
  return Pin(this, node);
}

PrefixIndex::Pin::~Pin() {
  if (node_ != nullptr) index_->Unpin(node_);
}

PrefixIndex::Pin PrefixIndex::Pin::Clone() const {
  return node_ == nullptr ? Pin() : index_->PinNode(node_);
}

PrefixIndex::Pin PrefixIndex::PinNode(Node* node) {
  ++num_pins_;
  Protect(node);
  return Pin(this, node);
}

void PrefixIndex::Unpin(Node* node) {
  --num_pins_;
  Unprotect(node);
}

void PrefixIndex::Protect(Node* node) {
  while (node->protections++ == 0 && !node->is_root()) {
    tenants_[node->tenant].evictable_pages -= options_.num_layers;
    node = node->parent;
  }
}

void PrefixIndex::Unprotect(Node* node) {
  PREFIXD_CHECK(node->protections > 0);
  while (--node->protections == 0) {
    if (node->is_root()) {
      DropRootIfUnused(node);
      return;
    }
    Tenant& tenant = tenants_[node->tenant];
    tenant.evictable_pages += options_.num_layers;
    const bool in_order =
        node->is_leaf() ? !PREFIXD_PLANTED(kUnpinnedLeafIsLost) : PREFIXD_PLANTED(kInnerIsEvicted);
    if (in_order) tenant.leaves.Place(node);
    node = node->parent;
  }
}

void PrefixIndex::Use(Node* node) {
  PREFIXD_DCHECK(node->protections > 0);
  node->use_clock = clock_;
  node->last_use = ++num_uses_;
}

void PrefixIndex::DropRootIfUnused(Node* root) {
  if (!root->is_leaf() || root->protections > 0) return;
  roots_.erase(root->key);
  pool_->Delete(root);
}

PrefixIndex::Node* PrefixIndex::Victim(int32_t tenant) {
  const EvictionHeap* best = nullptr;
  const auto consider = [&](EvictionHeap& leaves) {
    leaves.RemoveProtectedTops();
    if (leaves.empty()) return;
    if (best == nullptr || leaves.top_rank() < best->top_rank()) best = &leaves;
  };
  if (tenant < 0) {
    for (Tenant& each : tenants_) consider(each.leaves);
  } else if (static_cast<size_t>(tenant) < tenants_.size()) {
    consider(tenants_[tenant].leaves);
  }
  return best == nullptr ? nullptr : best->top();
}

int64_t PrefixIndex::Evict(int64_t num_pages, int32_t tenant) {
  int64_t given_up = 0;
  while (given_up < num_pages) {
    Node* leaf = Victim(tenant);
    if (leaf == nullptr) break;
    EvictLeaf(leaf);
    given_up += options_.num_layers;
  }
  return given_up;
}

void PrefixIndex::EvictLeaf(Node* leaf) {
  Tenant& tenant = tenants_[leaf->tenant];
  clock_ = std::max(clock_, leaf->priority());
  tenant.leaves.Remove(leaf);
  tenant.evictable_pages -= options_.num_layers;
  tenant.num_pages -= options_.num_layers;
  score_bytes_ -= ScoreBytes(*leaf);
  const uint64_t tag = Tag(leaf->key);
  columns_.Erase(tag, leaf);
  ghosts_.Add(tag);
  ++counters_.evicted;
  Node* parent = leaf->parent;
  const size_t erased = parent->children.erase(leaf);
  PREFIXD_CHECK(erased == 1);
  // The use of a column was one of its ancestors.
  if (leaf->last_use > parent->last_use) {
    parent->use_clock = leaf->use_clock;
    parent->last_use = leaf->last_use;
  }
  pool_->Delete(leaf);
  if (parent->is_root()) {
    DropRootIfUnused(parent);
  } else if (parent->is_leaf() && parent->protections == 0 && !PREFIXD_PLANTED(kParentIsLost)) {
    tenant.leaves.Place(parent);
  }
}

void PrefixIndex::CutToScores(int32_t min_columns, Match* match) {
  CutTo([](const Node& node) { return node.scores != nullptr; }, min_columns, match);
}

void PrefixIndex::CutTo(absl::FunctionRef<bool(const Node& node)> has_it, int32_t min_columns,
                        Match* match) {
  const int32_t matched = match->num_tokens();
  match->partial = {};
  match->partial_tokens = 0;
  Node* node = match->pin.node();
  while (match->num_columns > min_columns && !has_it(*node)) {
    node = node->parent;
    --match->num_columns;
  }
  if (match->num_tokens() < matched) match->reason = MissReason::kNoScores;
  if (node != match->pin.node()) match->pin = PinNode(node);
}

const ScoreSums& PrefixIndex::scores(const Node* node) const { return node->scores; }

void PrefixIndex::AttachScores(const Pin& pin, ScoreSums scores) {
  Node* node = pin.node();
  PREFIXD_CHECK(!node->is_root());
  PREFIXD_CHECK(scores->size() == static_cast<size_t>(options_.num_layers) *
                                      static_cast<size_t>(node->depth) * kSlotsPerPage);
  if (node->scores != nullptr) return;
  score_bytes_ -= ScoreBytes(*node);
  node->scores = std::move(scores);
  score_bytes_ += ScoreBytes(*node);
}

void PrefixIndex::CutToYields(int32_t min_columns, Match* match) {
  CutTo([](const Node& node) { return node.yield != nullptr && !node.yield->logprobs.empty(); },
        min_columns, match);
}

const std::shared_ptr<const ColumnYield>& PrefixIndex::yield(const Node* node) const {
  return node->yield;
}

void PrefixIndex::AttachYield(const Node* const_node, std::shared_ptr<const ColumnYield> yield) {
  Node* node = const_cast<Node*>(const_node);  // The index owns its nodes.
  PREFIXD_CHECK(!node->is_root());
  if (node->yield != nullptr && (!node->yield->logprobs.empty() || yield->logprobs.empty())) return;
  score_bytes_ -= ScoreBytes(*node);
  node->yield = std::move(yield);
  score_bytes_ += ScoreBytes(*node);
}

std::optional<uint64_t> PrefixIndex::LowestPriority(int32_t tenant) {
  const Node* victim = Victim(tenant);
  if (victim == nullptr) return std::nullopt;
  return victim->priority();
}

absl::Span<const PageRef> PrefixIndex::pages(const Node* node) const { return node->pages; }
int32_t PrefixIndex::depth(const Node* node) const { return node->depth; }
int32_t PrefixIndex::tenant(const Node* node) const { return node->tenant; }
const PrefixIndex::Node* PrefixIndex::parent(const Node* node) const {
  PREFIXD_CHECK(!node->is_root());
  return node->parent;
}

int64_t PrefixIndex::evictable_pages() const {
  int64_t sum = 0;
  for (const Tenant& tenant : tenants_) sum += tenant.evictable_pages;
  return sum;
}

int64_t PrefixIndex::evictable_pages(int32_t tenant) const {
  return static_cast<size_t>(tenant) < tenants_.size() ? tenants_[tenant].evictable_pages : 0;
}

int64_t PrefixIndex::num_pages() const { return num_columns() * options_.num_layers; }

int64_t PrefixIndex::num_pages(int32_t tenant) const {
  return static_cast<size_t>(tenant) < tenants_.size() ? tenants_[tenant].num_pages : 0;
}

int64_t PrefixIndex::num_columns() const { return static_cast<int64_t>(columns_.size()); }

const PrefixIndex::Counters& PrefixIndex::counters() const { return counters_; }

}  // namespace prefixd
