#include "tools/random_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/tensor/half.h"
#include "engine/weights/tensor_info.h"
#include "tools/random_values.h"

namespace prefixd {
namespace {

const RandomModelShape kText135m = {.name = "135m",
                                    .hidden_size = 576,
                                    .intermediate_size = 1536,
                                    .num_layers = 30,
                                    .num_heads = 9,
                                    .num_kv_heads = 3,
                                    .vocab_size = 49152,
                                    .max_positions = 8192,
                                    .rope_theta = 100000,
                                    .tie_word_embeddings = true};

const RandomModelShape kTinyText = {.name = "tiny-llama",
                                    .hidden_size = 64,
                                    .intermediate_size = 96,
                                    .num_layers = 2,
                                    .num_heads = 4,
                                    .num_kv_heads = 2,
                                    .vocab_size = 320,
                                    .max_positions = 2048};

// Heads of 64: what kernels for tensor cores take.
RandomModelShape WideHeadsText() {
  RandomModelShape shape = kTinyText;
  shape.hidden_size = 128;
  shape.num_heads = 2;
  shape.num_kv_heads = 1;
  return shape;
}

// As many kv heads as heads and little else: decoding over a long context is mostly attention.
const RandomModelShape kManyKvHeads = {.name = "many-kv-heads",
                                       .hidden_size = 512,
                                       .intermediate_size = 512,
                                       .num_layers = 8,
                                       .num_heads = 8,
                                       .num_kv_heads = 8,
                                       .vocab_size = 320,
                                       .max_positions = 4096};

// A vocabulary that is far larger than the rest.
RandomModelShape WideVocabulary() {
  RandomModelShape shape = kTinyText;
  shape.name = "wide-vocabulary";
  shape.vocab_size = 150000;
  shape.tie_word_embeddings = true;
  return shape;
}

RandomModelShape WithVision(RandomModelShape shape, std::string name, RandomVisionShape vision) {
  shape.name = std::move(name);
  shape.vision = vision;
  return shape;
}

RandomModelShape ProfileText() {
  RandomModelShape shape = kTinyText;
  shape.num_layers = 32;
  shape.max_positions = 4096;
  return shape;
}

void AddNorm(const std::string& name, int64_t size, bool bias, std::vector<TensorToWrite>* out) {
  out->push_back({.name = name + ".weight", .shape = {size}});
  if (bias) out->push_back({.name = name + ".bias", .shape = {size}});
}

void AddVision(const RandomVisionShape& shape, std::vector<TensorToWrite>* out) {
  const int64_t D = shape.hidden_size, P = shape.patch_size;
  const int64_t grid = shape.image_size / shape.patch_size;
  const std::string tower = "vision_tower.vision_model.";
  const std::string embeddings = tower + "embeddings.";
  out->push_back({.name = embeddings + "class_embedding", .shape = {D}});
  out->push_back({.name = embeddings + "patch_embedding.weight", .shape = {D, 3, P, P}});
  out->push_back({.name = embeddings + "position_embedding.weight", .shape = {grid * grid + 1, D}});
  AddNorm(tower + "pre_layrnorm", D, true, out);
  AddTowerLayers(shape, tower, out);
}

void Store(DType dtype, float value, uint8_t* out) {
  uint32_t bits = 0;
  if (dtype == DType::kF32) bits = std::bit_cast<uint32_t>(value);
  if (dtype == DType::kF16) bits = FloatToF16(value);
  if (dtype == DType::kBF16) bits = FloatToBF16(value);
  for (size_t i = 0; i < DTypeSize(dtype); ++i) out[i] = static_cast<uint8_t>(bits >> (8 * i));
}

absl::Status WriteFile(const std::string& path, absl::Span<const TensorToWrite> tensors,
                       const RandomModelFamily* family, uint64_t seed) {
  const bool is_usual = family == nullptr || family->distribution == nullptr;
  return WriteSafetensors(
      path, tensors, [&](size_t index, uint64_t first, absl::Span<uint8_t> out) {
        const TensorToWrite& tensor = tensors[index];
        const RandomDistribution distribution =
            is_usual ? UsualDistribution(tensor) : family->distribution(tensor);
        const uint64_t key = TensorKey(seed, tensor.name);
        const size_t size = DTypeSize(tensor.dtype);
        for (size_t i = 0; i < out.size() / size; ++i) {
          const float value =
              distribution.mean + distribution.deviation * RandomValue(key, first + i);
          Store(tensor.dtype, value, &out[i * size]);
        }
      });
}

absl::Status WriteShards(const std::string& directory, absl::Span<const TensorToWrite> tensors,
                         const RandomModelFamily* family, const RandomModelOptions& options) {
  nlohmann::json weight_map = nlohmann::json::object();
  uint64_t total_bytes = 0;
  for (int shard = 0; shard < options.num_shards; ++shard) {
    const std::string file =
        absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, options.num_shards);
    std::vector<TensorToWrite> part;
    for (size_t i = shard; i < tensors.size(); i += options.num_shards) {
      part.push_back(tensors[i]);
      weight_map[tensors[i].name] = file;
      total_bytes += NumElements(tensors[i].shape) * DTypeSize(tensors[i].dtype);
    }
    PREFIXD_RETURN_IF_ERROR(
        WriteFile(absl::StrCat(directory, "/", file), part, family, options.seed));
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}},
                                {"weight_map", weight_map}};
  const std::string text = index.dump(1);
  return WriteFileAtomically(
      absl::StrCat(directory, "/model.safetensors.index.json"),
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

}  // namespace

RandomDistribution UsualDistribution(const TensorToWrite& tensor) {
  const bool is_weight = absl::EndsWith(tensor.name, ".weight");
  if (tensor.shape.size() == 1) return {is_weight ? 1.0f : 0.0f, 0.02f};
  const float inputs =
      static_cast<float>(NumElements(absl::MakeConstSpan(tensor.shape).subspan(1)));
  if (absl::StrContains(tensor.name, "embed_tokens")) return {0, 1.0f / std::sqrt(inputs)};
  if (absl::StrContains(tensor.name, "position_embedding")) return {0, 0.02f};
  return {0, 0.5f / std::sqrt(inputs)};
}

void AddLinear(const std::string& name, int64_t rows, int64_t cols, bool bias,
               std::vector<TensorToWrite>* out) {
  out->push_back({.name = name + ".weight", .shape = {rows, cols}});
  if (bias) out->push_back({.name = name + ".bias", .shape = {rows}});
}

void AddTextTensors(const RandomModelShape& shape, int head_dim, const std::string& prefix,
                    std::vector<TensorToWrite>* out) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size, V = shape.vocab_size;
  const int64_t Q = int64_t{head_dim} * shape.num_heads;
  const int64_t KV = int64_t{head_dim} * shape.num_kv_heads;
  out->push_back({.name = prefix + "model.embed_tokens.weight", .shape = {V, D}});
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat(prefix, "model.layers.", i, ".");
    AddNorm(layer + "input_layernorm", D, false, out);
    AddLinear(layer + "self_attn.q_proj", Q, D, false, out);
    AddLinear(layer + "self_attn.k_proj", KV, D, false, out);
    AddLinear(layer + "self_attn.v_proj", KV, D, false, out);
    AddLinear(layer + "self_attn.o_proj", D, Q, false, out);
    AddNorm(layer + "post_attention_layernorm", D, false, out);
    AddLinear(layer + "mlp.gate_proj", I, D, false, out);
    AddLinear(layer + "mlp.up_proj", I, D, false, out);
    AddLinear(layer + "mlp.down_proj", D, I, false, out);
  }
  AddNorm(prefix + "model.norm", D, false, out);
  if (!shape.tie_word_embeddings) AddLinear(prefix + "lm_head", V, D, false, out);
}

void AddTowerLayers(const RandomVisionShape& shape, const std::string& tower,
                    std::vector<TensorToWrite>* out) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size;
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat(tower, "encoder.layers.", i, ".");
    AddNorm(layer + "layer_norm1", D, true, out);
    for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      AddLinear(absl::StrCat(layer, "self_attn.", part), D, D, true, out);
    }
    AddNorm(layer + "layer_norm2", D, true, out);
    AddLinear(layer + "mlp.fc1", I, D, true, out);
    AddLinear(layer + "mlp.fc2", D, I, true, out);
  }
  AddNorm(tower + "post_layernorm", D, true, out);
}

const std::vector<RandomModelShape>& RandomModelShapes() {
  static const auto* const kShapes = [] {
    auto* const shapes = new std::vector<RandomModelShape>{
        kText135m,
        WithVision(kText135m, "llava-135m",
                   {.hidden_size = 384,
                    .intermediate_size = 1536,
                    .num_layers = 12,
                    .num_heads = 6,
                    .image_size = 336,
                    .patch_size = 14}),
        WithVision(ProfileText(), "llava-7b-profile",
                   {.hidden_size = 64,
                    .intermediate_size = 128,
                    .num_layers = 4,
                    .num_heads = 4,
                    .image_size = 336,
                    .patch_size = 14}),
        kManyKvHeads,
        WideVocabulary(),
        kTinyText,
        WithVision(kTinyText, "tiny-llava",
                   {.hidden_size = 32,
                    .intermediate_size = 64,
                    .num_layers = 2,
                    .num_heads = 2,
                    .image_size = 28,
                    .patch_size = 7}),
        WithVision(WideHeadsText(), "tiny-llava-wide-heads",
                   {.hidden_size = 128,
                    .intermediate_size = 128,
                    .num_layers = 2,
                    .num_heads = 2,
                    .image_size = 28,
                    .patch_size = 7}),
        TinyPaliGemma(),
        TinyOpenFlamingo(),
    };
    for (const RandomModelShape& shape : RandomPlainShapes()) shapes->push_back(shape);
    return shapes;
  }();
  return *kShapes;
}

std::vector<TensorToWrite> RandomModelTensors(const RandomModelShape& shape, DType dtype) {
  std::vector<TensorToWrite> tensors;
  if (shape.family != nullptr) {
    tensors = shape.family->tensors(shape);
    for (TensorToWrite& tensor : tensors) tensor.dtype = dtype;
    return tensors;
  }
  if (shape.vision.has_value()) {
    AddVision(*shape.vision, &tensors);
    AddLinear("multi_modal_projector.linear_1", shape.hidden_size, shape.vision->hidden_size, true,
              &tensors);
    AddLinear("multi_modal_projector.linear_2", shape.hidden_size, shape.hidden_size, true,
              &tensors);
  }
  AddTextTensors(shape, shape.hidden_size / shape.num_heads,
                 shape.vision.has_value() ? "language_model." : "", &tensors);
  for (TensorToWrite& tensor : tensors) tensor.dtype = dtype;
  return tensors;
}

absl::Status WriteRandomModel(const RandomModelOptions& options, const std::string& directory) {
  std::vector<std::string> names;
  const RandomModelShape* shape = nullptr;
  for (const RandomModelShape& known : RandomModelShapes()) {
    names.push_back(known.name);
    if (known.name == options.shape) shape = &known;
  }
  if (shape == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is no shape \"", options.shape,
                                                   "\"; known: ", absl::StrJoin(names, ", ")));
  }
  if (options.num_shards < 1 || options.num_shards > 99) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.num_shards, " shards, expected 1 to 99"));
  }
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(directory, ": ", error.message()));
  const auto write_files =
      shape->family != nullptr ? shape->family->write_files : WriteRandomModelFiles;
  PREFIXD_RETURN_IF_ERROR(write_files(*shape, options.dtype, directory));
  const std::vector<TensorToWrite> tensors = RandomModelTensors(*shape, options.dtype);
  if (options.num_shards > 1) return WriteShards(directory, tensors, shape->family, options);
  return WriteFile(absl::StrCat(directory, "/model.safetensors"), tensors, shape->family,
                   options.seed);
}

}  // namespace prefixd
