// A loaded model: const after load, called by the engine thread only. A family is one file that
// reads like its paper (config mapping, tensor names and shapes, forward pass); shared pieces are
// free functions in engine/layers/. A model never names a concrete backend.
#ifndef PREFIXD_ENGINE_MODELS_MODEL_H_
#define PREFIXD_ENGINE_MODELS_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

// Defaults of generation_config.json (config.json for the ids where that file is absent).
struct GenerationDefaults {
  bool do_sample = false;  // False: greedy unless a request sets a temperature.
  float temperature = 1.0f;
  int top_k = 50;  // Only when do_sample.
  float top_p = 1.0f;
  float repetition_penalty = 1.0f;
  std::vector<int32_t> eos_token_ids;  // Generation stops after any of these.
};

// How an image enters the token sequence.
struct ImageSpec {
  // The placeholder; one in the prompt stands for a whole image. At least vocab_size where the
  // vocabulary has none: then it is no token, and the texts around it are encoded on their own.
  int32_t token_id = 0;
  int32_t tokens_per_image = 0;  // Rows that an image occupies.
  int image_size = 0;            // Side of the square that the tower takes, pixels.
  int patch_size = 0;
  int max_images = 64;  // Per request.
  // Features do not take the place of rows: the placeholder is a token as any other, and the rows
  // from it on, up to the next image, see the features through cross-attention (Batch::media).
  bool cross_attended = false;
  // Pictures are put on a square of the mean colour before anything else (the original LLaVA's
  // image_aspect_ratio "pad").
  bool pad_to_square = false;
  // A directory without a file for the image processor takes CLIP's for image_size.
  bool has_default_processor = false;
};

// Which prefixes may be shared (docs/design.md, section 5.7).
// kWholePrefix: the rows of a prompt see each other, so its KV is of use to an equal prompt only,
// and a prompt is computed in one pass, never in pieces.
enum class Sharing { kCausal, kWholePrefix };

struct ModelSpec {
  std::string family;  // "llama", "llava".
  int num_layers = 0;  // Layers with KV.
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t hidden_size = 0;
  int32_t vocab_size = 0;      // Rows of the output head.
  int32_t context_length = 0;  // Positions.
  std::string weights_dtype;   // As stored: "bf16".
  uint64_t num_parameters = 0;
  uint64_t weight_bytes = 0;
  Sharing sharing = Sharing::kCausal;
  bool keeps_positions = false;    // Its attention reads the position of each slot (ALiBi).
  std::optional<ImageSpec> image;  // Absent: a text model.
  // The built-in renderer of conversations where the checkpoint has no template of its own; empty:
  // there is none.
  std::string chat_template;
  GenerationDefaults generation;
};

// The longest prompt, in rows: what fits the context beside one new token; for a model whose
// prompts are computed in one pass, an image and 512 rows of text, for which there is scratch
// memory.
inline int32_t MaxPromptRows(const ModelSpec& spec) {
  constexpr int32_t kTextRows = 512;
  const int32_t most = spec.context_length - 1;
  if (spec.sharing == Sharing::kCausal) return most;
  return std::min(most, kTextRows + (spec.image ? spec.image->tokens_per_image : 0));
}

// `count` batch rows from `row_begin` on take rows [feature_begin, ...) of `features` instead of
// the embedding of their token.
struct FeatureRows {
  int32_t row_begin = 0;
  int32_t count = 0;
  Tensor features;  // [tokens_per_image, hidden_size].
  int32_t feature_begin = 0;
};

// `count` batch rows from `row_begin` on see an image through cross-attention.
struct MediaRows {
  int32_t row_begin = 0;
  int32_t count = 0;
  Tensor features;  // As ImageEncoding::TakeFeatures made them.
};

// The rows of one step over all sequences, ragged.
struct Batch {
  absl::Span<const int32_t> token_ids;  // [T]; rows under `features` hold any valid id.
  absl::Span<const int32_t> positions;  // [T], logical positions (rotation angle).
  absl::Span<const FeatureRows> features;
  absl::Span<const MediaRows> media;     // Ascending, disjoint; other rows see no image.
  absl::Span<const int32_t> logit_rows;  // Ascending batch rows whose logits are wanted.
  // Ascending batch rows whose final states are wanted (what the output head would take), and where
  // they go: [state_rows.size(), hidden_size].
  absl::Span<const int32_t> state_rows;
  Tensor states;
};

// Where the rows of a step live in the KV cache: per layer, one segment per sequence in batch
// order. Segments of all layers cover all T rows.
struct KvView {
  KvPool* pool = nullptr;
  absl::Span<const absl::Span<const KvSegment>> layers;  // [num_layers].
};

// An image on its way through the tower, a few layers at a time (docs/decisions.md, rule 23).
class ImageEncoding {
 public:
  virtual ~ImageEncoding() = default;
  // Steps that are left; 0 when the features are ready.
  virtual int steps_left() const = 0;
  // Token rows that one step costs under the step's budget.
  virtual int rows_per_step() const = 0;
  // Requires steps_left() > 0.
  virtual absl::Status Step() = 0;
  // Requires steps_left() == 0; called once. Returns [tokens_per_image, hidden_size]; of a model
  // whose images are cross-attended, what Forward takes as MediaRows::features, in the model's own
  // shape.
  virtual OwnedTensor TakeFeatures() = 0;
};

struct ModelLimits {
  int max_batch_rows = 512;  // Largest T of one Forward; >= a whole prompt for kWholePrefix.
  int max_logit_rows = 64;   // Largest number of logit rows of one Forward; state rows: any.
  int max_scored_rows = 64;  // States that TokenLogprobs is asked about at a time, by the engine.
};

class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelSpec& spec() const = 0;

  // Computes one step. `logits` has batch.logit_rows.size() rows of spec().vocab_size columns.
  // Requires T <= max_batch_rows. No allocation.
  virtual absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) = 0;

  // y[i] = log-probability of token ids[i] after the row whose final state is states[rows[i]], at
  // most 0; not finite where the model's logits are not. states: [any, hidden_size] as Forward
  // wrote them. rows: ascending. Scratch and cost: Backend::HeadLogprobs. Waits.
  virtual absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                                     absl::Span<const int32_t> ids, absl::Span<float> y) = 0;

  // Starts encoding an image. pixels: [3][image_size][image_size] normalised, channel slowest.
  // Errors: UNIMPLEMENTED for a text model.
  virtual absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(
      absl::Span<const float> pixels) = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_MODEL_H_
