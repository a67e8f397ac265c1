#include "engine/classify/check_class_set.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

absl::Status Refuse(const char* reason, absl::string_view field, absl::string_view problem,
                    std::vector<std::pair<std::string, std::string>> metadata = {}) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", problem),
                   ErrorDetail{.reason = reason,
                               .metadata = std::move(metadata),
                               .field_violations = {{std::string(field), std::string(problem)}}});
}

absl::Status CheckRange(absl::string_view field, absl::string_view things, uint64_t value,
                        uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  const std::string range = absl::StrCat("[", low, ", ", high, "]");
  return Refuse(reason::kParameterOutOfRange, field,
                absl::StrCat(value, things, " is outside the range ", range),
                {{"value", absl::StrCat(value)}, {"range", range}});
}

absl::Status CheckCount(absl::string_view field, absl::string_view things, uint64_t count,
                        uint64_t limit) {
  if (count <= limit) return absl::OkStatus();
  return Refuse(reason::kParameterOutOfRange, field,
                absl::StrCat(count, " ", things, ", the limit is ", limit),
                {{"value", absl::StrCat(count)}, {"limit", absl::StrCat(limit)}});
}

absl::Status CheckText(absl::string_view field, absl::string_view text, uint64_t max_bytes) {
  PREFIXD_RETURN_IF_ERROR(CheckCount(field, "bytes", text.size(), max_bytes));
  if (!IsValidUtf8(text)) return Refuse(reason::kInputInvalid, field, "is not UTF-8");
  return absl::OkStatus();
}

absl::Status CheckNoNul(absl::string_view field, absl::string_view text) {
  if (text.find('\0') == absl::string_view::npos) return absl::OkStatus();
  return Refuse(reason::kInputInvalid, field, "contains a NUL byte");
}

// The path of entry i is made only where it is needed: there may be many names.
absl::Status CheckName(absl::string_view list, size_t i, absl::string_view member,
                       absl::string_view name, const ClassificationOptions& options) {
  const uint64_t limit = static_cast<uint64_t>(std::max(options.max_name_bytes, 0));
  if (!name.empty() && name.size() <= limit && IsValidUtf8(name) &&
      name.find('\0') == absl::string_view::npos) {
    return absl::OkStatus();
  }
  const std::string field = absl::StrCat(list, "[", i, "]", member);
  if (name.empty()) return Refuse(reason::kInputInvalid, field, "is empty");
  PREFIXD_RETURN_IF_ERROR(CheckText(field, name, limit));
  return CheckNoNul(field, name);
}

absl::Status CheckDemonstrations(const ClassSetSpec& spec, const ClassificationOptions& options) {
  const std::vector<Demonstration>& all = spec.demonstrations;
  PREFIXD_RETURN_IF_ERROR(CheckCount("demonstrations", "demonstrations", all.size(),
                                     static_cast<uint64_t>(options.max_demonstrations)));
  if (spec.num_shots < 0 || static_cast<size_t>(spec.num_shots) > all.size()) {
    const std::string range = absl::StrCat("[0, ", all.size(), "]");
    return Refuse(reason::kParameterOutOfRange, "num_shots",
                  absl::StrCat(spec.num_shots, " is outside the range ", range,
                               ", the number of demonstrations"),
                  {{"value", absl::StrCat(spec.num_shots)}, {"range", range}});
  }
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string field = absl::StrCat("demonstrations[", i, "]");
    PREFIXD_RETURN_IF_ERROR(CheckName("demonstrations", i, ".label", all[i].label, options));
    PREFIXD_RETURN_IF_ERROR(
        CheckText(absl::StrCat(field, ".text"), all[i].text, kMaxPromptTextBytes));
    if (!all[i].image) {
      if (spec.num_shots == 0) continue;
      return Refuse(reason::kInputInvalid, absl::StrCat(field, ".image"),
                    "is missing: num_shots chooses by pictures");
    }
    const ImagePart& image = *all[i].image;
    if (image.bytes.empty() && image.sha256.empty()) {
      return Refuse(reason::kInputInvalid, absl::StrCat(field, ".image"),
                    "has neither bytes nor a digest");
    }
    if (!image.sha256.empty() && image.sha256.size() != 32) {
      return Refuse(reason::kInputInvalid, absl::StrCat(field, ".image"),
                    absl::StrCat("a digest of ", image.sha256.size(), " bytes, expected 32"));
    }
  }
  return absl::OkStatus();
}

// Saturates never: the parts are in memory.
uint64_t BytesOf(const ClassSetSpec& spec) {
  uint64_t bytes = spec.label_prefix.size() + spec.prompt.system.size() +
                   spec.prompt.question.size() + spec.prompt.separator.size() +
                   spec.null_text.size();
  for (const std::string& name : spec.names) bytes += name.size();
  for (const Demonstration& demonstration : spec.demonstrations) {
    bytes += demonstration.text.size() + demonstration.label.size();
    if (demonstration.image) bytes += demonstration.image->bytes.size();
  }
  return bytes;
}

}  // namespace

bool IsClassSetId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxClassSetIdBytes &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == absl::string_view::npos;
}

absl::Status CheckNames(absl::string_view field, absl::Span<const std::string> names,
                        const ClassificationOptions& options) {
  PREFIXD_RETURN_IF_ERROR(CheckRange(field, " names", names.size(), 2,
                                     static_cast<uint64_t>(std::max(options.max_names, 2))));
  for (size_t i = 0; i < names.size(); ++i) {
    PREFIXD_RETURN_IF_ERROR(CheckName(field, i, "", names[i], options));
  }
  return absl::OkStatus();
}

absl::Status CheckLabelPrefix(absl::string_view field, absl::string_view label_prefix) {
  PREFIXD_RETURN_IF_ERROR(CheckText(field, label_prefix, kMaxLabelPrefixBytes));
  return CheckNoNul(field, label_prefix);
}

absl::Status CheckClassPrompt(absl::string_view field, const ClassPrompt& prompt) {
  const std::pair<const char*, const std::string&> texts[] = {
      {".system", prompt.system}, {".question", prompt.question}, {".separator", prompt.separator}};
  for (const auto& [member, text] : texts) {
    PREFIXD_RETURN_IF_ERROR(CheckText(absl::StrCat(field, member), text, kMaxPromptTextBytes));
  }
  return absl::OkStatus();
}

absl::Status CheckClassSetSpec(const ClassSetSpec& spec, const ClassificationOptions& options) {
  if (!IsClassSetId(spec.id)) {
    return Refuse(reason::kParameterOutOfRange, "class_set_id",
                  "the id of a class set has 1..63 characters of [a-z0-9-]");
  }
  PREFIXD_RETURN_IF_ERROR(CheckNames("names", spec.names, options));
  PREFIXD_RETURN_IF_ERROR(CheckLabelPrefix("label_prefix", spec.label_prefix));
  PREFIXD_RETURN_IF_ERROR(CheckClassPrompt("prompt", spec.prompt));
  PREFIXD_RETURN_IF_ERROR(CheckDemonstrations(spec, options));
  PREFIXD_RETURN_IF_ERROR(CheckText("null_text", spec.null_text, kMaxPromptTextBytes));
  return CheckCount("demonstrations", "bytes of names, texts and pictures", BytesOf(spec),
                    options.max_set_bytes);
}

absl::Status CheckStoredClassSet(const StoredClassSet& set, const ClassificationOptions& options) {
  PREFIXD_RETURN_IF_ERROR(CheckClassSetSpec(set.spec, options));
  PREFIXD_RETURN_IF_ERROR(
      CheckCount("tenant", "bytes", set.spec.tenant.size(), kMaxStoredTenantBytes));
  PREFIXD_RETURN_IF_ERROR(
      CheckCount("embedding_model", "bytes", set.embedding_model.size(), kMaxEmbeddingModelBytes));
  const std::vector<Demonstration>& demonstrations = set.spec.demonstrations;
  for (size_t i = 0; i < demonstrations.size(); ++i) {
    if (demonstrations[i].image && demonstrations[i].image->bytes.empty()) {
      return Refuse(reason::kInputInvalid, absl::StrCat("demonstrations[", i, "].image"),
                    "has no bytes");
    }
  }
  if (set.embeddings.empty()) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(CheckRange("embeddings", " embeddings", set.embeddings.size(),
                                     demonstrations.size(), demonstrations.size()));
  const size_t dim = set.embeddings.front().size();
  PREFIXD_RETURN_IF_ERROR(CheckRange("embeddings[0]", " values", dim, 1, kMaxEmbeddingDim));
  for (size_t i = 0; i < set.embeddings.size(); ++i) {
    const std::vector<float>& embedding = set.embeddings[i];
    const std::string field = absl::StrCat("embeddings[", i, "]");
    PREFIXD_RETURN_IF_ERROR(CheckRange(field, " values", embedding.size(), dim, dim));
    if (!std::all_of(embedding.begin(), embedding.end(), [](float x) { return std::isfinite(x); }))
      return Refuse(reason::kInputInvalid, field, "a value is not finite");
  }
  return absl::OkStatus();
}

}  // namespace prefixd
