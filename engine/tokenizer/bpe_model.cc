#include "engine/tokenizer/bpe_model.h"

#include <algorithm>
#include <queue>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
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

absl::StatusOr<std::unique_ptr<const BpeModel>> BpeModel::Create(const JsonField& model) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, model["type"].StringOr("BPE"));
  if (type != "BPE") return model["type"].Unsupported(absl::StrCat("model `", type, "`"));
  std::unique_ptr<BpeModel> bpe(new BpeModel);
  PREFIXD_RETURN_IF_ERROR(bpe->ReadVocab(model["vocab"]));
  PREFIXD_RETURN_IF_ERROR(bpe->ReadOptions(model));
  PREFIXD_RETURN_IF_ERROR(bpe->ReadMerges(model["merges"]));
  return std::unique_ptr<const BpeModel>(std::move(bpe));
}

absl::Status BpeModel::ReadVocab(const JsonField& vocab) {
  if (!vocab.value().is_object()) return vocab.Invalid("not an object of token to id");
  if (vocab.value().size() > kMaxVocabSize) {
    return vocab.Invalid(
        absl::StrCat(vocab.value().size(), " tokens, the limit is ", kMaxVocabSize));
  }
  vocab_.reserve(vocab.value().size());
  std::vector<bool> taken(kMaxVocabSize);
  for (const auto& [token, value] : vocab.value().items()) {
    if (token.size() > kMaxTokenBytes) {
      return vocab.Invalid(
          absl::StrCat("a token of ", token.size(), " bytes, the limit is ", kMaxTokenBytes));
    }
    PREFIXD_ASSIGN_OR_RETURN(
        const int32_t id, JsonField(&value, absl::StrCat(vocab.where(), "[\"", token, "\"]")).Id());
    if (taken[static_cast<size_t>(id)]) {
      return vocab.Invalid(absl::StrCat("id ", id, " twice, the second for \"", token, "\""));
    }
    taken[static_cast<size_t>(id)] = true;
    vocab_.emplace(token, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = TokenToId(absl::StrFormat("<0x%02X>", byte)).value_or(-1);
  }
  for (int c = 0; c < 128; ++c) {
    ascii_ids_[c] = TokenToId(std::string(1, static_cast<char>(c))).value_or(-1);
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadOptions(const JsonField& model) {
  if (!model["dropout"].is_null()) return model["dropout"].Unsupported("dropout");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string affix, model[key].StringOr(""));
    if (!affix.empty()) return model[key].Unsupported(absl::StrCat("\"", affix, "\""));
  }
  PREFIXD_ASSIGN_OR_RETURN(fuse_unk_, model["fuse_unk"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(byte_fallback_, model["byte_fallback"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(ignore_merges_, model["ignore_merges"].BoolOr(false));
  if (model["unk_token"].is_null()) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const std::string unk, model["unk_token"].String());
  unk_id_ = TokenToId(unk);
  if (!unk_id_) {
    return model["unk_token"].Invalid(absl::StrCat("\"", unk, "\" is not in model.vocab"));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const JsonField& merges) {
  PREFIXD_ASSIGN_OR_RETURN(const size_t count, merges.ArraySize());
  if (count > kMaxMerges) {
    return merges.Invalid(absl::StrCat(count, " merges, the limit is ", kMaxMerges));
  }
  merges_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    PREFIXD_RETURN_IF_ERROR(AddMerge(merges.At(i), static_cast<int32_t>(i)));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::AddMerge(const JsonField& entry, int32_t rank) {
  std::string left;
  std::string right;
  if (entry.value().is_string()) {
    const std::string& text = entry.value().get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return entry.Invalid("not two tokens with one space between them");
    }
    left = text.substr(0, space);
    right = text.substr(space + 1);
  } else {
    if (!entry.value().is_array() || entry.value().size() != 2) return entry.Invalid("not a pair");
    PREFIXD_ASSIGN_OR_RETURN(left, entry.At(0).String());
    PREFIXD_ASSIGN_OR_RETURN(right, entry.At(1).String());
  }
  const std::string result = absl::StrCat(left, right);
  for (const std::string* token :
       std::initializer_list<const std::string*>{&left, &right, &result}) {
    if (!vocab_.contains(*token)) {
      return entry.Invalid(absl::StrCat("\"", *token, "\" is not in model.vocab"));
    }
  }
  merges_[PairKey(vocab_[left], vocab_[right])] = {rank, vocab_[result]};
  return absl::OkStatus();
}

std::optional<int32_t> BpeModel::TokenToId(absl::string_view token) const {
  const auto found = vocab_.find(token);
  if (found == vocab_.end()) return std::nullopt;
  return found->second;
}

void BpeModel::Encode(absl::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = TokenToId(word)) {
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
    int32_t id = lead < 0x80 ? ascii_ids_[lead] : TokenToId(character).value_or(-1);
    if (id >= 0) {
      if (unk_pending) ids->push_back(*unk_id_);
      unk_pending = false;
      ids->push_back(id);
      continue;
    }
    if (byte_fallback_ && AppendBytes(character, ids)) continue;
    if (!unk_id_) continue;
    if (unk_pending && !fuse_unk_) ids->push_back(*unk_id_);
    unk_pending = true;
  }
  if (unk_pending) ids->push_back(*unk_id_);
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
  const auto candidate = [&](int32_t position) -> std::optional<Candidate> {
    const Symbol& left = symbols[static_cast<size_t>(position)];
    const Merge* merge = FindMerge(left.id, symbols[static_cast<size_t>(left.next)].id);
    if (merge == nullptr) return std::nullopt;
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
}

}  // namespace prefixd
