#include "tools/convert_tower.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/weights/tensor_info.h"

namespace prefixd::tools {
namespace {

constexpr char kClassRow[] = "embeddings.class_embedding";
constexpr char kOpenClip[] = "visual.";
constexpr int kDefaultHeadSize = 64;

struct Renaming {
  absl::string_view from, to;
};

// open_clip's names; the fused projection is taken apart elsewhere.
constexpr Renaming kOpenClipHeads[] = {
    {"class_embedding", "embeddings.class_embedding"},
    {"conv1.", "embeddings.patch_embedding."},
    {"positional_embedding", "embeddings.position_embedding.weight"},
    {"ln_pre.", "pre_layrnorm."},
    {"ln_post.", "post_layernorm."},
};
constexpr Renaming kOpenClipLayers[] = {
    {"ln_1.", "layer_norm1."},
    {"ln_2.", "layer_norm2."},
    {"attn.out_proj.", "self_attn.out_proj."},
    {"mlp.c_fc.", "mlp.fc1."},
    {"mlp.c_proj.", "mlp.fc2."},
};

absl::Status TensorError(const TensorSource::Tensor& tensor, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(tensor.file, ": tensor ", tensor.name, ": ", problem));
}

std::optional<std::string> Renamed(absl::string_view name, absl::Span<const Renaming> table) {
  for (const Renaming& entry : table) {
    if (absl::ConsumePrefix(&name, entry.from)) return absl::StrCat(entry.to, name);
  }
  return std::nullopt;
}

// The rows of q, k and v one after the other.
absl::Status AddFused(const TensorSource& source, const TensorSource::Tensor& tensor,
                      const std::string& layer, absl::string_view kind, Tower* tower) {
  if (tensor.shape.empty() || tensor.shape[0] % 3 != 0) {
    return TensorError(
        tensor, absl::StrCat("shape ", ShapeString(tensor.shape), ", expected rows of q, k and v"));
  }
  uint64_t first = 0;
  for (const char* part : {"q", "k", "v"}) {
    PREFIXD_ASSIGN_OR_RETURN(
        OutputTensor out,
        WholeTensor(source, tensor, absl::StrCat(layer, "self_attn.", part, "_proj.", kind)));
    out.shape[0] /= 3;
    out.first = first;
    first += NumElements(out.shape);
    tower->tensors.push_back(std::move(out));
  }
  return absl::OkStatus();
}

// One tensor of open_clip, `name` without "visual.". What is no part of the tower is left out.
absl::Status AddOpenClip(const TensorSource& source, const TensorSource::Tensor& tensor,
                         absl::string_view name, Tower* tower) {
  std::optional<std::string> renamed = Renamed(name, kOpenClipHeads);
  if (absl::ConsumePrefix(&name, "transformer.resblocks.")) {
    const size_t dot = name.find('.');
    if (dot == absl::string_view::npos) return TensorError(tensor, "is not known");
    const std::string layer = absl::StrCat("encoder.layers.", name.substr(0, dot + 1));
    name.remove_prefix(dot + 1);
    if (absl::ConsumePrefix(&name, "attn.in_proj_")) {
      return AddFused(source, tensor, layer, name, tower);
    }
    renamed = Renamed(name, kOpenClipLayers);
    if (!renamed.has_value()) return TensorError(tensor, "is not known");
    renamed = layer + *renamed;
  }
  if (!renamed.has_value()) return absl::OkStatus();  // The projection.
  PREFIXD_ASSIGN_OR_RETURN(OutputTensor out, WholeTensor(source, tensor, *renamed));
  tower->tensors.push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status AddTensors(const TensorSource& source, Tower* tower) {
  std::optional<std::string> prefix;
  const bool is_open_clip = source.Find(absl::StrCat(kOpenClip, "class_embedding")) != nullptr;
  if (is_open_clip) prefix = kOpenClip;
  for (const auto& [name, tensor] : source.tensors()) {
    if (!is_open_clip && absl::EndsWith(name, kClassRow)) {
      prefix = name.substr(0, name.size() - sizeof(kClassRow) + 1);
    }
  }
  if (!prefix.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": no tower: neither ", kClassRow,
                                                   " nor ", kOpenClip, "class_embedding"));
  }
  for (const auto& [full_name, tensor] : source.tensors()) {
    absl::string_view name = full_name;
    if (!absl::ConsumePrefix(&name, *prefix) || !IsWeight(tensor)) continue;
    if (is_open_clip) {
      PREFIXD_RETURN_IF_ERROR(AddOpenClip(source, tensor, name, tower));
      continue;
    }
    const bool is_part =
        absl::StartsWith(name, "embeddings.") || absl::StartsWith(name, "encoder.layers.") ||
        absl::StartsWith(name, "pre_layrnorm.") || absl::StartsWith(name, "post_layernorm.");
    if (!is_part) continue;
    PREFIXD_ASSIGN_OR_RETURN(OutputTensor out, WholeTensor(source, tensor, std::string(name)));
    tower->tensors.push_back(std::move(out));
  }
  return absl::OkStatus();
}

// The configuration beside the weights, or an empty object.
absl::StatusOr<nlohmann::ordered_json> ConfigOf(const TensorSource& source) {
  const std::string path = absl::StrCat(source.path(), "/config.json");
  nlohmann::ordered_json config = nlohmann::ordered_json::object();
  if (!std::filesystem::is_directory(source.path()) || !FileExists(path)) return config;
  PREFIXD_ASSIGN_OR_RETURN(config, ReadOrderedJson(path));
  if (config.contains("vision_config") && config["vision_config"].is_object()) {
    return config["vision_config"];
  }
  return config;
}

const OutputTensor* Find(const Tower& tower, absl::string_view name) {
  for (const OutputTensor& tensor : tower.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

int NumLayers(const Tower& tower) {
  int count = 0;
  for (const OutputTensor& tensor : tower.tensors) {
    absl::string_view name = tensor.name;
    int layer = 0;
    if (absl::ConsumePrefix(&name, "encoder.layers.") &&
        absl::SimpleAtoi(name.substr(0, name.find('.')), &layer)) {
      count = std::max(count, layer + 1);
    }
  }
  return count;
}

// Sizes from the tensors' shapes, the rest from `given`.
absl::Status Configure(const TensorSource& source, const nlohmann::ordered_json& given,
                       int num_heads, Tower* tower) {
  const OutputTensor* const patches = Find(*tower, "embeddings.patch_embedding.weight");
  const OutputTensor* const positions = Find(*tower, "embeddings.position_embedding.weight");
  const OutputTensor* const fc1 = Find(*tower, "encoder.layers.0.mlp.fc1.weight");
  for (const auto& [tensor, rank, name] : {std::tuple(patches, size_t{4}, "patch embedding"),
                                           std::tuple(positions, size_t{2}, "position embedding"),
                                           std::tuple(fc1, size_t{2}, "first MLP matrix")}) {
    if (tensor == nullptr || tensor->shape.size() != rank || tensor->shape[0] < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(source.path(), ": the tower's ", name, " is missing or has another rank"));
    }
  }
  const int64_t width = patches->shape[0], patch = patches->shape[3];
  const int64_t num_patches = positions->shape[0] - 1;
  const int64_t grid = static_cast<int64_t>(std::lround(std::sqrt(num_patches)));
  if (grid < 1 || grid * grid != num_patches) {
    return TensorError(*positions->tensor,
                       absl::StrCat(positions->shape[0], " rows are no square and a class row"));
  }
  tower->image_size = grid * patch;
  if (num_heads == 0) num_heads = static_cast<int>(width / kDefaultHeadSize);
  tower->config = {{"model_type", "clip_vision_model"},
                   {"hidden_size", width},
                   {"intermediate_size", fc1->shape[0]},
                   {"num_hidden_layers", NumLayers(*tower)},
                   {"num_attention_heads", num_heads},
                   {"image_size", tower->image_size},
                   {"patch_size", patch},
                   {"hidden_act", "quick_gelu"},
                   {"layer_norm_eps", 1e-5}};
  for (const char* key : {"hidden_act", "layer_norm_eps"}) {
    if (given.contains(key)) tower->config[key] = given[key];
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Tower> ReadTower(const TensorSource& source, int num_heads) {
  Tower tower;
  PREFIXD_RETURN_IF_ERROR(AddTensors(source, &tower));
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::ordered_json given, ConfigOf(source));
  if (num_heads == 0 && given.contains("num_attention_heads") &&
      given["num_attention_heads"].is_number_unsigned()) {
    num_heads = given["num_attention_heads"].get<int>();
  }
  PREFIXD_RETURN_IF_ERROR(Configure(source, given, num_heads, &tower));
  return tower;
}

}  // namespace prefixd::tools
