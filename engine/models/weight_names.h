// The tensors of a checkpoint under one spelling. Families know their tensors by canonical names;
// files spell them in several ways. Names and shapes are checked here, before any weight is read.
// Not thread-safe.
#ifndef PREFIXD_ENGINE_MODELS_WEIGHT_NAMES_H_
#define PREFIXD_ENGINE_MODELS_WEIGHT_NAMES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {

class WeightNames {
 public:
  // Returns the canonical name of a tensor of a file.
  using Canonical = std::function<std::string(absl::string_view name)>;

  // `checkpoint` must outlive the result. Errors: two tensors with one canonical name.
  static absl::StatusOr<WeightNames> Create(const Checkpoint& checkpoint,
                                            const Canonical& canonical);

  // Returns the tensor and counts it as used.
  // Errors: INVALID_ARGUMENT for a missing tensor, another shape or a type that cannot be computed
  // with, naming file, tensor and both values.
  absl::StatusOr<const TensorInfo*> Find(absl::string_view name, absl::Span<const int64_t> shape);

  // Sums over the tensors that were found.
  uint64_t used_elements() const { return used_elements_; }
  uint64_t used_bytes() const { return used_bytes_; }

  // Logs a warning for every tensor that was not found, except those that `is_known_unused` names.
  void WarnOfUnused(bool (*is_known_unused)(absl::string_view canonical)) const;

 private:
  explicit WeightNames(const Checkpoint& checkpoint) : checkpoint_(&checkpoint) {}

  const Checkpoint* checkpoint_;
  std::map<std::string, const TensorInfo*, std::less<>> by_name_;
  std::set<const TensorInfo*> used_;
  uint64_t used_elements_ = 0;
  uint64_t used_bytes_ = 0;
};

// One spelling for models of vision and language: text.*, vision.*, multi_modal_projector.*,
// lm_head.weight. Files put "model." in front of everything or of nothing, and the level
// "vision_model." may be absent. A Canonical.
std::string VisionLanguageName(absl::string_view name);

// Where a weight and its bias lie in the checkpoint.
struct TensorPair {
  const TensorInfo* weight = nullptr;
  const TensorInfo* bias = nullptr;  // Null for a linear map without bias.
};

// Finds `name`.weight [rows, cols] and, if wanted, `name`.bias [rows].
absl::StatusOr<TensorPair> FindLinear(const std::string& name, int64_t rows, int64_t cols,
                                      bool has_bias, WeightNames* names);

// Finds the norm `name`.weight [size] and, if it has one, `name`.bias [size].
absl::StatusOr<TensorPair> FindLayerNorm(const std::string& name, int64_t size, WeightNames* names,
                                         bool has_bias = true);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_WEIGHT_NAMES_H_
