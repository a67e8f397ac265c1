#include "engine/tokenizer/bpe_parts.h"

#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

absl::Status Invalid(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::Status ReadOptions(const JsonField& model, BpeParts* parts) {
  if (!model["dropout"].is_null()) return model["dropout"].Unsupported("dropout");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string affix, model[key].StringOr(""));
    if (!affix.empty()) return model[key].Unsupported(absl::StrCat("\"", affix, "\""));
  }
  PREFIXD_ASSIGN_OR_RETURN(parts->fuse_unk, model["fuse_unk"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(parts->byte_fallback, model["byte_fallback"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(parts->ignore_merges, model["ignore_merges"].BoolOr(false));
  if (model["unk_token"].is_null()) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const std::string unk, model["unk_token"].String());
  const auto found = parts->vocab.find(unk);
  if (found == parts->vocab.end()) {
    return model["unk_token"].Invalid(absl::StrCat("\"", unk, "\" is not in model.vocab"));
  }
  parts->unk_id = found->second;
  return absl::OkStatus();
}

absl::Status ReadMerges(const JsonField& merges, BpeParts* parts) {
  PREFIXD_ASSIGN_OR_RETURN(const size_t count, merges.ArraySize());
  if (count > kMaxMerges) {
    return merges.Invalid(absl::StrCat(count, " merges, the limit is ", kMaxMerges));
  }
  parts->merges.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const JsonField entry = merges.At(i);
    if (entry.value().is_string()) {
      PREFIXD_RETURN_IF_ERROR(
          AddMerge(entry.value().get_ref<const std::string&>(), entry.where(), parts));
      continue;
    }
    if (!entry.value().is_array() || entry.value().size() != 2) return entry.Invalid("not a pair");
    PREFIXD_ASSIGN_OR_RETURN(const std::string left, entry.At(0).String());
    PREFIXD_ASSIGN_OR_RETURN(const std::string right, entry.At(1).String());
    PREFIXD_RETURN_IF_ERROR(AddMerge(left, right, entry.where(), parts));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpeParts> ReadBpeParts(const JsonField& model) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, model["type"].StringOr("BPE"));
  if (type != "BPE") return model["type"].Unsupported(absl::StrCat("model `", type, "`"));
  BpeParts parts;
  PREFIXD_RETURN_IF_ERROR(ReadVocab(model["vocab"], &parts));
  PREFIXD_RETURN_IF_ERROR(ReadOptions(model, &parts));
  PREFIXD_RETURN_IF_ERROR(ReadMerges(model["merges"], &parts));
  return parts;
}

absl::Status ReadVocab(const JsonField& vocab, BpeParts* parts) {
  if (!vocab.value().is_object()) return vocab.Invalid("not an object of token to id");
  if (vocab.value().size() > kMaxVocabSize) {
    return vocab.Invalid(
        absl::StrCat(vocab.value().size(), " tokens, the limit is ", kMaxVocabSize));
  }
  parts->vocab.reserve(vocab.value().size());
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
    parts->vocab.emplace(token, id);
  }
  return absl::OkStatus();
}

absl::Status AddTokens(absl::Span<const std::string> tokens, absl::string_view where,
                       BpeParts* parts) {
  if (tokens.empty()) return Invalid(where, "no tokens");
  if (tokens.size() > kMaxVocabSize) {
    return Invalid(where, absl::StrCat(tokens.size(), " tokens, the limit is ", kMaxVocabSize));
  }
  parts->vocab.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string& token = tokens[id];
    if (token.empty() || token.size() > kMaxTokenBytes) {
      return Invalid(where, absl::StrCat("token ", id, " has ", token.size(),
                                         " bytes, the range is [1, ", kMaxTokenBytes, "]"));
    }
    if (!IsValidUtf8(token)) return Invalid(where, absl::StrCat("token ", id, " is not UTF-8"));
    const auto [found, inserted] = parts->vocab.try_emplace(token, static_cast<int32_t>(id));
    if (!inserted) {
      return Invalid(where, absl::StrCat("tokens ", found->second, " and ", id, " are both \"",
                                         token.substr(0, 64), "\""));
    }
  }
  return absl::OkStatus();
}

absl::Status AddMerge(absl::string_view left, absl::string_view right, absl::string_view where,
                      BpeParts* parts) {
  if (parts->merges.size() == kMaxMerges) {
    return Invalid(where, absl::StrCat("more than ", kMaxMerges, " merges"));
  }
  const std::string result = absl::StrCat(left, right);
  int32_t ids[3] = {};
  int i = 0;
  for (const absl::string_view token :
       std::initializer_list<absl::string_view>{left, right, result}) {
    const auto found = parts->vocab.find(token);
    if (found == parts->vocab.end()) {
      return Invalid(where, absl::StrCat("\"", token.substr(0, 64), "\" is not in the vocabulary"));
    }
    ids[i++] = found->second;
  }
  parts->merges.push_back({.left = ids[0],
                           .right = ids[1],
                           .result = ids[2],
                           .rank = static_cast<int32_t>(parts->merges.size())});
  return absl::OkStatus();
}

absl::Status AddMerge(absl::string_view text, absl::string_view where, BpeParts* parts) {
  const size_t space = text.find(' ');
  if (space == absl::string_view::npos || text.find(' ', space + 1) != absl::string_view::npos) {
    return Invalid(where, "not two tokens with one space between them");
  }
  return AddMerge(text.substr(0, space), text.substr(space + 1), where, parts);
}

}  // namespace prefixd
