#include "engine/tokenizer/post_processor.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr size_t kMaxTemplateItems = 64;

// The ids of the special token that `item` names, as `special_tokens` of `field` declares them.
absl::StatusOr<std::vector<int32_t>> ReadSpecialToken(const JsonField& field, const JsonField& item,
                                                      const PostProcessor::TokenLookup& lookup) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, item["id"].String());
  const JsonField declared = field["special_tokens"][name];
  if (declared.is_null()) {
    return item.Invalid(absl::StrCat("special token \"", name, "\" is not in special_tokens"));
  }
  const JsonField ids = declared["ids"];
  const JsonField tokens = declared["tokens"];
  PREFIXD_ASSIGN_OR_RETURN(const size_t count, ids.ArraySize());
  if (count > kMaxTemplateItems) return ids.Invalid(absl::StrCat(count, " ids, the limit is 64"));
  std::vector<int32_t> result;
  for (size_t i = 0; i < count; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const int32_t id, ids.At(i).Id());
    result.push_back(id);
    if (!tokens.value().is_array() || i >= tokens.value().size()) continue;
    PREFIXD_ASSIGN_OR_RETURN(const std::string token, tokens.At(i).String());
    if (lookup(token) != id) {
      return tokens.At(i).Invalid(absl::StrCat("\"", token, "\" is not the token of id ", id));
    }
  }
  if (tokens.is_null() && !lookup(name)) {
    return item.Invalid(absl::StrCat("special token \"", name, "\" is no token"));
  }
  return result;
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Create(const JsonField& field,
                                                    const TokenLookup& lookup) {
  PostProcessor processor;
  if (!field.is_null()) PREFIXD_RETURN_IF_ERROR(processor.Add(field, lookup));
  return processor;
}

absl::Status PostProcessor::Add(const JsonField& field, const TokenLookup& lookup) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, field["type"].String());
  if (type == "Sequence") {
    const JsonField list = field["processors"];
    PREFIXD_ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
    for (size_t i = 0; i < count; ++i) PREFIXD_RETURN_IF_ERROR(Add(list.At(i), lookup));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return absl::OkStatus();  // Changes offsets only.
  if (type == "TemplateProcessing") return ReadTemplate(field, lookup);
  return field["type"].Unsupported(absl::StrCat("post-processor `", type, "`"));
}

absl::Status PostProcessor::ReadTemplate(const JsonField& field, const TokenLookup& lookup) {
  if (has_template_) return field.Unsupported("a second TemplateProcessing");
  has_template_ = true;
  const JsonField single = field["single"];
  PREFIXD_ASSIGN_OR_RETURN(const size_t count, single.ArraySize());
  if (count > kMaxTemplateItems) {
    return single.Invalid(absl::StrCat(count, " items, the limit is ", kMaxTemplateItems));
  }
  bool after_text = false;
  for (size_t i = 0; i < count; ++i) {
    const JsonField item = single.At(i);
    if (!item["Sequence"].is_null()) {
      if (after_text) return item.Invalid("the text twice");
      after_text = true;
      continue;
    }
    if (item["SpecialToken"].is_null()) return item.Invalid("neither SpecialToken nor Sequence");
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                             ReadSpecialToken(field, item["SpecialToken"], lookup));
    std::vector<int32_t>& side = after_text ? suffix_ : prefix_;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (!after_text) return single.Invalid("the text is missing");
  return absl::OkStatus();
}

void PostProcessor::SetBos(int32_t id, bool add) {
  const auto found = std::find(prefix_.begin(), prefix_.end(), id);
  if (add && found == prefix_.end()) prefix_.insert(prefix_.begin(), id);
  if (!add && found != prefix_.end()) prefix_.erase(found);
}

void PostProcessor::SetEos(int32_t id, bool add) {
  const auto found = std::find(suffix_.begin(), suffix_.end(), id);
  if (add && found == suffix_.end()) suffix_.push_back(id);
  if (!add && found != suffix_.end()) suffix_.erase(found);
}

}  // namespace prefixd
