#include "engine/tokenizer/bpe_model.h"

#include <algorithm>
#include <queue>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

// A merge that may be due. `position` indexes the symbol list; stale entries are skipped when
// popped.
struct Candidate {
  uint64_t order = 0;  // rank << 32 | position: lowest first.
  int32_t result_id = 0;
  bool operator>(const Candidate& other) const { return order > other.order; }
};

// Lowest first. Those of the start are sorted once, which is cheap for the text that has most of
// them: one character repeated.
class CandidateQueue {
 public:
  explicit CandidateQueue(std::vector<Candidate> initial) : initial_(std::move(initial)) {
    const auto lower = [](const Candidate& a, const Candidate& b) { return b > a; };
    if (!std::is_sorted(initial_.begin(), initial_.end(), lower)) {
      std::sort(initial_.begin(), initial_.end(), lower);
    }
  }
  bool empty() const { return next_ == initial_.size() && later_.empty(); }
  void Push(const Candidate& candidate) { later_.push(candidate); }
  Candidate Pop() {
    const bool from_later =
        next_ == initial_.size() || (!later_.empty() && initial_[next_] > later_.top());
    if (!from_later) return initial_[next_++];
    const Candidate top = later_.top();
    later_.pop();
    return top;
  }

 private:
  std::vector<Candidate> initial_;
  size_t next_ = 0;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> later_;
};

struct Symbol {
  int32_t id = 0;
  int32_t previous = -1;
  int32_t next = -1;
  bool alive = true;
};

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeModel::BpeModel(BpeParts parts) : parts_(std::move(parts)) {
  merges_.reserve(parts_.merges.size());
  for (const BpeMerge& merge : parts_.merges) {
    merges_[PairKey(merge.left, merge.right)] = {merge.rank, merge.result};
  }
  parts_.merges = {};
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = TokenToId(absl::StrFormat("<0x%02X>", byte)).value_or(-1);
  }
  for (int c = 0; c < 128; ++c) {
    ascii_ids_[c] = TokenToId(std::string(1, static_cast<char>(c))).value_or(-1);
  }
}

void BpeModel::Hide(absl::Span<const int32_t> ids) {
  hidden_.insert(ids.begin(), ids.end());
  for (int32_t& id : ascii_ids_) {
    if (hidden_.contains(id)) id = -1;
  }
  absl::erase_if(merges_,
                 [this](const auto& entry) { return hidden_.contains(entry.second.result_id); });
}

std::optional<int32_t> BpeModel::TokenToId(absl::string_view token) const {
  const auto found = parts_.vocab.find(token);
  if (found == parts_.vocab.end()) return std::nullopt;
  return found->second;
}

std::optional<int32_t> BpeModel::WordId(absl::string_view word) const {
  const std::optional<int32_t> id = TokenToId(word);
  return id && hidden_.contains(*id) ? std::nullopt : id;
}

void BpeModel::Encode(absl::string_view word, std::vector<int32_t>* ids) const {
  if (parts_.ignore_merges) {
    if (const std::optional<int32_t> id = WordId(word)) {
      ids->push_back(*id);
      return;
    }
  }
  const size_t begin = ids->size();
  AppendCharacters(word, ids);
  MergeAll(ids, begin);
}

bool BpeModel::AppendBytes(absl::string_view character, std::vector<int32_t>* ids) const {
  const auto has_no_token = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] < 0; };
  if (std::any_of(character.begin(), character.end(), has_no_token)) return false;
  for (const char c : character) ids->push_back(byte_ids_[static_cast<uint8_t>(c)]);
  return true;
}

void BpeModel::AppendCharacters(absl::string_view word, std::vector<int32_t>* ids) const {
  // An unknown token waits for the next known character; bytes overtake it, as in the reference.
  bool unk_pending = false;
  for (size_t i = 0; i < word.size();) {
    const uint8_t lead = static_cast<uint8_t>(word[i]);
    const absl::string_view character = word.substr(i, CharacterAt(word, i).num_bytes);
    i += character.size();
    int32_t id = lead < 0x80 ? ascii_ids_[lead] : WordId(character).value_or(-1);
    if (id >= 0) {
      if (unk_pending) ids->push_back(*parts_.unk_id);
      unk_pending = false;
      ids->push_back(id);
      continue;
    }
    if (parts_.byte_fallback && AppendBytes(character, ids)) continue;
    if (!parts_.unk_id) continue;
    if (unk_pending && !parts_.fuse_unk) ids->push_back(*parts_.unk_id);
    unk_pending = true;
  }
  if (unk_pending) ids->push_back(*parts_.unk_id);
}

const BpeModel::Merge* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeModel::MergeAll(std::vector<int32_t>* ids, size_t begin) const {
  const size_t count = ids->size() - begin;
  if (count < 2) return;
  PREFIXD_CHECK(count < size_t{1} << 31);
  std::vector<Symbol> symbols(count);
  for (size_t i = 0; i < count; ++i) {
    const int32_t position = static_cast<int32_t>(i);
    symbols[i] = {.id = (*ids)[begin + i],
                  .previous = position - 1,
                  .next = i + 1 < count ? position + 1 : -1};
  }
  std::vector<Candidate> initial;
  Splits splits;
  const auto candidate = [&](int32_t position) -> std::optional<Candidate> {
    const Symbol& left = symbols[static_cast<size_t>(position)];
    const Merge* merge = FindMerge(left.id, symbols[static_cast<size_t>(left.next)].id);
    if (merge == nullptr) return std::nullopt;
    if (parts_.unused.contains(merge->result_id)) {
      splits[merge->result_id] = {left.id, symbols[static_cast<size_t>(left.next)].id};
    }
    return Candidate{static_cast<uint64_t>(merge->rank) << 32 | static_cast<uint32_t>(position),
                     merge->result_id};
  };
  for (size_t i = 0; i + 1 < count; ++i) {
    if (const auto found = candidate(static_cast<int32_t>(i))) initial.push_back(*found);
  }
  CandidateQueue queue(std::move(initial));
  while (!queue.empty()) {
    const Candidate top = queue.Pop();
    const int32_t position = static_cast<int32_t>(top.order & 0xFFFFFFFFu);
    Symbol& left = symbols[static_cast<size_t>(position)];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge* merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->result_id != top.result_id) continue;
    left.id = top.result_id;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = position;
    if (left.previous >= 0) {
      if (const auto found = candidate(left.previous)) queue.Push(*found);
    }
    if (left.next >= 0) {
      if (const auto found = candidate(position)) queue.Push(*found);
    }
  }
  size_t out = begin;
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    (*ids)[out++] = symbols[static_cast<size_t>(i)].id;
  }
  ids->resize(out);
  if (!splits.empty()) SplitUnused(splits, ids, begin);
}

void BpeModel::SplitUnused(const Splits& splits, std::vector<int32_t>* ids, size_t begin) const {
  std::vector<int32_t> pending(ids->rbegin(), ids->rend() - static_cast<ptrdiff_t>(begin));
  ids->resize(begin);
  while (!pending.empty()) {  // Parts are shorter than what they are parts of.
    const int32_t id = pending.back();
    pending.pop_back();
    const auto split = splits.find(id);
    if (split == splits.end()) {
      ids->push_back(id);
      continue;
    }
    pending.push_back(split->second.second);
    pending.push_back(split->second.first);
  }
}

}  // namespace prefixd
