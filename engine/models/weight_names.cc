#include "engine/models/weight_names.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace prefixd {

absl::StatusOr<WeightNames> WeightNames::Create(const Checkpoint& checkpoint,
                                                const Canonical& canonical) {
  WeightNames names(checkpoint);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto [it, inserted] = names.by_name_.emplace(canonical(name), &tensor);
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat(
          checkpoint.file_path(tensor), ": tensors \"", absl::CHexEscape(it->second->name),
          "\" and \"", absl::CHexEscape(name), "\" are the same weight"));
    }
  }
  return names;
}

absl::StatusOr<const TensorInfo*> WeightNames::Find(absl::string_view name,
                                                    absl::Span<const int64_t> shape) {
  const auto it = by_name_.find(std::string(name));
  if (it == by_name_.end()) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint_->path(), ": tensor ", name, " ",
                                                   ShapeString(shape), " is missing"));
  }
  const TensorInfo* const tensor = it->second;
  const std::string where =
      absl::StrCat(checkpoint_->file_path(*tensor), ": tensor ", tensor->name);
  if (absl::MakeConstSpan(tensor->shape) != shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": shape ", ShapeString(tensor->shape),
                                                   ", expected ", ShapeString(shape)));
  }
  const std::optional<DType> dtype = ComputableDType(tensor->dtype);
  // Vectors become floats, so they must be plain; the blocks of a matrix lie along its rows.
  if (!dtype.has_value() || (IsQuantized(*dtype) && shape.size() != 2)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": dtype ", tensor->dtype, ", expected F32, F16 or BF16"));
  }
  if (used_.insert(tensor).second) {
    used_elements_ += NumElements(tensor->shape);
    used_bytes_ += tensor->size_bytes;
  }
  return tensor;
}

void WeightNames::WarnOfUnused(bool (*is_known_unused)(absl::string_view)) const {
  constexpr size_t kMaxNamed = 8;
  size_t count = 0;
  for (const auto& [name, tensor] : by_name_) {
    if (used_.contains(tensor) || is_known_unused(name)) continue;
    if (++count <= kMaxNamed) {
      PREFIXD_LOG(kWarn, "weights ignored=", absl::CHexEscape(tensor->name.substr(0, 200)),
                  " reason=not_in_model file=", checkpoint_->file_path(*tensor));
    }
  }
  if (count > kMaxNamed) PREFIXD_LOG(kWarn, "weights ignored_in_all=", count);
}

std::string VisionLanguageName(absl::string_view name) {
  absl::ConsumePrefix(&name, "model.");
  if (absl::ConsumePrefix(&name, "language_model.")) {
    if (absl::StartsWith(name, "lm_head.")) return std::string(name);
    absl::ConsumePrefix(&name, "model.");
    return absl::StrCat("text.", name);
  }
  if (absl::ConsumePrefix(&name, "vision_tower.")) {
    absl::ConsumePrefix(&name, "vision_model.");
    return absl::StrCat("vision.", name);
  }
  return std::string(name);
}

absl::StatusOr<TensorPair> FindLinear(const std::string& name, int64_t rows, int64_t cols,
                                      bool has_bias, WeightNames* names) {
  TensorPair linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, names->Find(name + ".weight", {rows, cols}));
  if (has_bias) {
    PREFIXD_ASSIGN_OR_RETURN(linear.bias, names->Find(name + ".bias", {rows}));
  }
  return linear;
}

absl::StatusOr<TensorPair> FindLayerNorm(const std::string& name, int64_t size, WeightNames* names,
                                         bool has_bias) {
  TensorPair norm;
  PREFIXD_ASSIGN_OR_RETURN(norm.weight, names->Find(name + ".weight", {size}));
  if (has_bias) {
    PREFIXD_ASSIGN_OR_RETURN(norm.bias, names->Find(name + ".bias", {size}));
  }
  return norm;
}

}  // namespace prefixd
