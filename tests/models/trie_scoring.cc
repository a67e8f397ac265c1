#include "tests/models/trie_scoring.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace prefixd::testing {

NameScorer::NameScorer(LoadedModel* loaded, TestSequence context)
    : loaded_(loaded),
      context_(std::move(context)),
      context_rows_(static_cast<int32_t>(context_.ids.size())),
      last_(*loaded->backend().NewTensor(1, loaded->spec().hidden_size)),
      states_(*loaded->backend().NewTensor(LoadedModel::kMaxRows, loaded->spec().hidden_size)) {
  const Tensor states = states_.view.Rows(0, context_rows_);
  loaded_->Step({&context_}, {context_rows_}, &states);
  PREFIXD_CHECK(loaded_->backend().CopyRows(states, {context_rows_ - 1}, {0}, last_.view).ok());
}

void NameScorer::Children(const TokenTrie& trie, absl::Span<const int32_t> nodes,
                          const Tensor& states, std::vector<float>* logprobs) {
  std::vector<int32_t> rows, children, ids;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const int32_t child : trie.ChildrenOf(nodes[i])) {
      rows.push_back(static_cast<int32_t>(i));
      children.push_back(child);
      ids.push_back(trie.node(child).token);
    }
  }
  std::vector<float> values(ids.size());
  PREFIXD_CHECK(loaded_->model().TokenLogprobs(states, rows, ids, absl::MakeSpan(values)).ok());
  for (size_t i = 0; i < children.size(); ++i) logprobs->at(children[i]) = values[i];
}

void NameScorer::RunRows(const TokenTrie& trie, const TrieWalk::Rows& rows,
                         const TestSequence& company, std::vector<float>* logprobs) {
  const int32_t count = static_cast<int32_t>(rows.nodes.size());
  const int32_t begin = static_cast<int32_t>(company.ids.size());
  std::vector<int32_t> ids = company.ids, positions(begin), company_slots(begin), slots;
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(company_slots.begin(), company_slots.end(), 0);
  for (int32_t i = 0; i < count; ++i) {
    const TokenTrie::Node& node = trie.node(rows.nodes[i]);
    ids.push_back(node.token);
    positions.push_back(context_rows_ + node.depth - 1);
    slots.push_back(rows.slot(static_cast<size_t>(i)));
  }
  std::vector<int32_t> state_rows(count);
  std::iota(state_rows.begin(), state_rows.end(), begin);
  std::vector<MediaRows> media;
  if (!context_.media.empty()) {
    media.push_back({.row_begin = begin, .count = count, .features = context_.media.back()});
  }
  std::vector<std::vector<KvSegment>> segments(loaded_->spec().num_layers);
  for (int layer = 0; layer < loaded_->spec().num_layers; ++layer) {
    if (begin > 0) {
      segments[layer].push_back({.num_rows = begin,
                                 .pages = loaded_->LayerPages(company, layer),
                                 .write_slots = company_slots,
                                 .first_visible = 1});
    }
    segments[layer].push_back({.row_begin = begin,
                               .num_rows = count,
                               .pages = loaded_->LayerPages(context_, layer),
                               .write_slots = slots,
                               .first_visible = context_rows_,
                               .first_position = context_rows_,
                               .path_begins = rows.path_begins,
                               .path_slots = rows.path_slots});
  }
  const std::vector<absl::Span<const KvSegment>> layers(segments.begin(), segments.end());
  const Tensor states = states_.view.Rows(0, count);
  const absl::Status status = loaded_->model().Forward({.token_ids = ids,
                                                        .positions = positions,
                                                        .media = media,
                                                        .state_rows = state_rows,
                                                        .states = states},
                                                       {loaded_->pool(), layers}, Tensor());
  if (!status.ok()) fprintf(stderr, "%s\n", status.ToString().c_str());
  PREFIXD_CHECK(status.ok());
  num_rows_ += count;
  Children(trie, rows.nodes, states, logprobs);
}

std::vector<float> NameScorer::Tree(const TokenTrie& trie, const TreeWay& way) {
  std::vector<float> logprobs(trie.nodes().size(), std::numeric_limits<float>::quiet_NaN());
  num_rows_ = 0;
  Children(trie, {0}, last_.view, &logprobs);
  std::vector<int32_t> slot_of(trie.nodes().size(), -1);
  int32_t next = context_rows_;
  for (int32_t i = 1; i < static_cast<int32_t>(slot_of.size()); ++i) {
    if (trie.is_internal(i)) slot_of[i] = next++;
  }
  PREFIXD_CHECK(next <= static_cast<int32_t>(loaded_->LayerPages(context_, 0).size()) * kPageSlots);
  TestSequence company;
  if (way.company > 0) company = loaded_->NewSequence(std::vector<int32_t>(way.company, 7));
  TrieWalk::Rows rows;
  rows.path_begins = {0};
  for (int32_t i = 1; i < static_cast<int32_t>(slot_of.size()); ++i) {
    if (trie.is_internal(i)) {
      rows.nodes.push_back(i);
      const size_t begin = rows.path_slots.size();
      for (int32_t node = i; node != 0; node = trie.node(node).parent) {
        const int32_t slot = slot_of[node];
        rows.path_slots.push_back(way.slots_backwards ? context_rows_ + next - 1 - slot : slot);
      }
      std::reverse(rows.path_slots.begin() + static_cast<int64_t>(begin), rows.path_slots.end());
      rows.path_begins.push_back(static_cast<int32_t>(rows.path_slots.size()));
    }
    const bool last = i + 1 == static_cast<int32_t>(slot_of.size());
    if (static_cast<int32_t>(rows.nodes.size()) == way.max_rows || (last && !rows.nodes.empty())) {
      RunRows(trie, rows, company, &logprobs);
      rows = {};
      rows.path_begins = {0};
    }
  }
  return logprobs;
}

std::vector<float> NameScorer::Walk(const TokenTrie& trie, int32_t max_rows, TrieWalk* walk) {
  std::vector<float> logprobs(trie.nodes().size(), std::numeric_limits<float>::quiet_NaN());
  num_rows_ = 0;
  const auto tell = [&trie, &logprobs, walk](int32_t node) {
    std::vector<float> of_children;
    for (const int32_t child : trie.ChildrenOf(node)) of_children.push_back(logprobs.at(child));
    walk->SetChildLogprobs(node, of_children);
  };
  Children(trie, {0}, last_.view, &logprobs);
  tell(0);
  while (!walk->done()) {
    TrieWalk::Rows rows = walk->Take(max_rows);
    PREFIXD_CHECK(!rows.nodes.empty());
    for (int32_t& slot : rows.path_slots) slot += context_rows_;
    RunRows(trie, rows, {}, &logprobs);
    for (const int32_t node : rows.nodes) tell(node);
  }
  return logprobs;
}

std::vector<float> NameScorer::OneByOne(const Names& names) {
  std::vector<float> logprobs;
  for (const std::vector<int32_t>& name : names) {
    const size_t begin = logprobs.size();
    logprobs.resize(begin + name.size());
    const auto of_name = absl::MakeSpan(logprobs).subspan(begin);
    PREFIXD_CHECK(loaded_->model()
                      .TokenLogprobs(last_.view, {0}, absl::MakeConstSpan(name).subspan(0, 1),
                                     of_name.subspan(0, 1))
                      .ok());
    const int32_t count = static_cast<int32_t>(name.size()) - 1;  // The last token is not fed.
    if (count == 0) continue;
    TestSequence sequence = context_;
    sequence.ids.insert(sequence.ids.end(), name.begin(), name.end());
    const Tensor states = states_.view.Rows(0, count);
    loaded_->Step({&sequence}, {count}, &states);
    std::vector<int32_t> rows(count);
    std::iota(rows.begin(), rows.end(), 0);
    PREFIXD_CHECK(
        loaded_->model()
            .TokenLogprobs(states, rows, absl::MakeConstSpan(name).subspan(1), of_name.subspan(1))
            .ok());
  }
  return logprobs;
}

std::vector<float> NameScorer::Uncached(const Names& names) {
  std::vector<float> logprobs;
  TestSequence sequence = context_;
  sequence.pages = loaded_->NewSequence(context_.ids).pages;
  for (const std::vector<int32_t>& name : names) {
    sequence.ids.resize(static_cast<size_t>(context_rows_));
    sequence.ids.insert(sequence.ids.end(), name.begin(), name.end());
    sequence.computed = 0;
    const int32_t count = static_cast<int32_t>(sequence.ids.size()) - 1;
    const Tensor states = states_.view.Rows(0, count);
    loaded_->Step({&sequence}, {count}, &states);
    std::vector<int32_t> rows(name.size());
    std::iota(rows.begin(), rows.end(), context_rows_ - 1);
    const size_t begin = logprobs.size();
    logprobs.resize(begin + name.size());
    PREFIXD_CHECK(loaded_->model()
                      .TokenLogprobs(states, rows, name, absl::MakeSpan(logprobs).subspan(begin))
                      .ok());
  }
  return logprobs;
}

std::vector<float> ByToken(const TokenTrie& trie, const Names& names,
                           absl::Span<const float> by_node) {
  std::vector<float> by_token;
  for (size_t k = 0; k < names.size(); ++k) {
    const size_t begin = by_token.size();
    for (int32_t node = trie.ends()[k]; node != 0; node = trie.node(node).parent) {
      by_token.push_back(by_node[static_cast<size_t>(node)]);
    }
    std::reverse(by_token.begin() + static_cast<int64_t>(begin), by_token.end());
    PREFIXD_CHECK(by_token.size() - begin == names[k].size());
  }
  return by_token;
}

std::vector<double> Means(const Names& names, absl::Span<const float> by_token) {
  std::vector<double> means;
  size_t at = 0;
  for (const std::vector<int32_t>& name : names) {
    double sum = 0;
    for (size_t i = 0; i < name.size(); ++i) sum += by_token.at(at++);
    means.push_back(sum / static_cast<double>(name.size()));
  }
  PREFIXD_CHECK(at == by_token.size());
  return means;
}

}  // namespace prefixd::testing
