#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/convert_classification.h"

namespace prefixd {
namespace {

// Pictures are stored with the set, so that their bytes must be here. Errors: NOT_FOUND naming the
// pictures, counted from 0, and their digests.
absl::Status CheckPicturesHaveBytes(const std::vector<Demonstration>& demonstrations) {
  std::vector<std::string> indices, digests;
  int index = 0;
  for (const Demonstration& demonstration : demonstrations) {
    if (!demonstration.image) continue;
    if (demonstration.image->bytes.empty()) {
      indices.push_back(absl::StrCat(index));
      digests.push_back(absl::BytesToHexString(demonstration.image->sha256));
    }
    ++index;
  }
  if (indices.empty()) return absl::OkStatus();
  const std::string list = absl::StrJoin(indices, ",");
  return MakeError(
      absl::StatusCode::kNotFound, reason::kImageNotCached,
      absl::StrCat("a class set holds the bytes of its pictures; send those of image ", list),
      {{"image_index", list}, {"sha256", absl::StrJoin(digests, ",")}});
}

// What the limit on a set counts.
uint64_t BytesOf(const v1::CreateClassSetRequest& message) {
  uint64_t bytes = 0;
  for (const std::string& name : message.names()) bytes += name.size();
  for (const v1::Demonstration& demonstration : message.demonstrations()) {
    bytes += demonstration.image().data().size() + demonstration.text().size() +
             demonstration.label().size();
  }
  return bytes;
}

Demonstration ConvertDemonstration(v1::Demonstration* message, const std::string& path,
                                   const ClassPrompt& prompt, const RequestLimits& limits,
                                   InputConverter* converter, Violations* violations) {
  Demonstration out;
  if (message->has_image()) {
    out.image = converter->Image(message->mutable_image(), absl::StrCat(path, ".image"));
  }
  CheckTextHasPlace(absl::StrCat(path, ".text"), message->text(), prompt.question, violations);
  violations->CheckCount(absl::StrCat(path, ".text"), "bytes", message->text().size(),
                         limits.max_prompt_bytes);
  CheckClassName(absl::StrCat(path, ".label"), message->label(), limits.classification, violations);
  out.text = std::move(*message->mutable_text());
  out.label = std::move(*message->mutable_label());
  return out;
}

void ConvertDemonstrations(v1::CreateClassSetRequest* message, const RequestLimits& limits,
                           InputConverter* converter, ClassSetSpec* spec, Violations* violations) {
  const int count = message->demonstrations_size();
  violations->CheckCount("demonstrations", "demonstrations", static_cast<uint64_t>(count),
                         static_cast<uint64_t>(limits.classification.max_demonstrations));
  violations->CheckRange("num_shots", message->num_shots(), 0, count);
  spec->num_shots = message->num_shots();
  if (count > limits.classification.max_demonstrations) return;
  int num_images = 0;
  for (int i = 0; i < count; ++i) {
    const std::string path = absl::StrCat("demonstrations[", i, "]");
    v1::Demonstration* demonstration = message->mutable_demonstrations(i);
    if (demonstration->has_image()) {
      ++num_images;
    } else if (spec->num_shots > 0) {
      violations->Add(reason::kInputInvalid, absl::StrCat(path, ".image"),
                      "shots are chosen by their pictures; each demonstration needs one");
    }
    spec->demonstrations.push_back(
        ConvertDemonstration(demonstration, path, spec->prompt, limits, converter, violations));
  }
  converter->SetNumImages(spec->num_shots > 0 ? std::min(spec->num_shots, num_images) : num_images);
}

}  // namespace

absl::StatusOr<ClassSetSpec> ConvertCreateClassSetRequest(v1::CreateClassSetRequest message,
                                                          const EngineModelInfo& model,
                                                          const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  ClassSetSpec spec;
  if (!IsPrefixId(message.class_set_id())) {
    violations.Add(reason::kParameterOutOfRange, "class_set_id",
                   "the id of a class set has 1..63 characters of [a-z0-9-]");
  }
  spec.id = std::move(*message.mutable_class_set_id());
  violations.CheckCount("demonstrations", "bytes of names and demonstrations", BytesOf(message),
                        limits.classification.max_set_bytes);
  CheckClassNames("names", message.names(), limits.classification, &violations);
  violations.CheckCount("label_prefix", "bytes", message.label_prefix().size(),
                        kMaxLabelPrefixBytes);
  spec.label_prefix = std::move(*message.mutable_label_prefix());
  spec.prompt = ConvertClassPrompt(message.has_prompt() ? message.mutable_prompt() : nullptr,
                                   "prompt", &converter, &violations);
  ConvertDemonstrations(&message, limits, &converter, &spec, &violations);
  spec.null_text = converter.Text(message.mutable_null_text());
  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  PREFIXD_RETURN_IF_ERROR(CheckPicturesHaveBytes(spec.demonstrations));
  spec.names.assign(std::make_move_iterator(message.mutable_names()->begin()),
                    std::make_move_iterator(message.mutable_names()->end()));
  return spec;
}

absl::Status CheckClassSetRequestName(absl::string_view name) {
  Violations violations;
  CheckClassSetName("name", name, &violations);
  return violations.ToStatus();
}

}  // namespace prefixd
