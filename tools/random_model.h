// Seeded random checkpoints for tests and benchmarks: complete Hugging Face directories that the
// daemon serves (their answers are noise). The same name, seed and type give the same bytes
// everywhere.
#ifndef PREFIXD_TOOLS_RANDOM_MODEL_H_
#define PREFIXD_TOOLS_RANDOM_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/safetensors_writer.h"

namespace prefixd {

struct RandomModelFamily;

struct RandomVisionShape {
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int image_size = 0;
  int patch_size = 0;
};

struct RandomModelShape {
  std::string name;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int vocab_size = 0;
  int max_positions = 0;
  double rope_theta = 10000;
  bool tie_word_embeddings = false;
  std::optional<RandomVisionShape> vision;
  // Null: Llama, or LLaVA where there is a tower.
  const RandomModelFamily* family = nullptr;
};

// Mean and deviation of the values of a tensor.
struct RandomDistribution {
  float mean = 0;
  float deviation = 0.02f;
};

// What another family puts into its directory. Each lives in a file of its own, random_FAMILY.cc.
struct RandomModelFamily {
  std::vector<TensorToWrite> (*tensors)(const RandomModelShape& shape);  // Types are filled in.
  RandomDistribution (*distribution)(const TensorToWrite& tensor);       // Null: the usual one.
  absl::Status (*write_files)(const RandomModelShape& shape, DType dtype,
                              const std::string& directory);
};

// tiny-paligemma (random_paligemma.cc).
const RandomModelShape& TinyPaliGemma();
// tiny-openflamingo (random_openflamingo.cc).
const RandomModelShape& TinyOpenFlamingo();
// GPT-2, MPT and GPT-NeoX (random_plain.cc).
std::vector<RandomModelShape> RandomPlainShapes();

// All shapes by name.
const std::vector<RandomModelShape>& RandomModelShapes();

struct RandomModelOptions {
  std::string shape;  // Name of a shape.
  uint64_t seed = 1;
  DType dtype = DType::kBF16;  // kF32, kF16 or kBF16.
  int num_shards = 1;          // 1: a single file without an index.
};

// Writes the directory, which is made if it does not exist.
// Errors: INVALID_ARGUMENT for an unknown shape (naming the known ones), a number of shards outside
// [1, 99] or a file that cannot be written.
absl::Status WriteRandomModel(const RandomModelOptions& options, const std::string& directory);

// Keeps activations of order one: a linear map halves the deviation of a normalised input, a norm
// stays close to one.
RandomDistribution UsualDistribution(const TensorToWrite& tensor);

// The pieces of WriteRandomModel, and of the families.
void AddTextTensors(const RandomModelShape& shape, int head_dim, const std::string& prefix,
                    std::vector<TensorToWrite>* out);
// The layers of a tower of the CLIP kind and the norm behind them.
void AddTowerLayers(const RandomVisionShape& shape, const std::string& tower,
                    std::vector<TensorToWrite>* out);
void AddLinear(const std::string& name, int64_t rows, int64_t cols, bool bias,
               std::vector<TensorToWrite>* out);
std::vector<TensorToWrite> RandomModelTensors(const RandomModelShape& shape, DType dtype);
absl::Status WriteRandomModelFiles(const RandomModelShape& shape, DType dtype,
                                   const std::string& directory);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_RANDOM_MODEL_H_
