#include "tools/flamingo_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/tensor/half.h"
#include "engine/weights/tensor_info.h"

namespace prefixd::tools {
namespace {

constexpr char kLanguage[] = "lang_encoder.";
constexpr char kBlock[] = ".gated_cross_attn_layer.";    // Behind the layer's number.
constexpr char kAliases[] = "gated_cross_attn_layers.";  // The same tensors in old files.
constexpr float kLargestGate = 20;                       // tanh is 1 long before.
constexpr absl::string_view kEmbeddings[] = {"transformer.wte.weight", "gpt_neox.embed_in.weight",
                                             "embed_out.weight", "model.embed_tokens.weight",
                                             "lm_head.weight"};

absl::Status TensorError(const TensorSource::Tensor& tensor, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(tensor.file, ": tensor ", tensor.name, ": ", problem));
}

// "gated_cross_attn_layers.N.rest", or nullopt for what is no part of a block. Old files have the
// blocks under two names.
std::optional<std::string> BlockName(absl::string_view name, bool* is_alias) {
  if (!absl::ConsumePrefix(&name, kLanguage)) return std::nullopt;
  *is_alias = absl::StartsWith(name, kAliases);
  if (*is_alias) return std::string(name);
  const size_t at = name.find(kBlock);
  if (at == absl::string_view::npos) return std::nullopt;
  const absl::string_view layer = name.substr(0, at);
  const size_t dot = layer.rfind('.');
  if (dot == absl::string_view::npos) return std::nullopt;
  return absl::StrCat(kAliases, layer.substr(dot + 1), ".", name.substr(at + sizeof(kBlock) - 1));
}

// Shape of a tensor of the converted model. Errors: it is missing or has another rank.
absl::StatusOr<std::vector<int64_t>> ShapeOf(const FlamingoCheckpoint& checkpoint,
                                             const std::string& file, absl::string_view name) {
  for (const OutputTensor& tensor : checkpoint.tensors) {
    if (tensor.name != name) continue;
    if (tensor.shape.size() == 2 && tensor.shape[0] > 0 && tensor.shape[1] > 0) return tensor.shape;
    return TensorError(*tensor.tensor,
                       absl::StrCat("shape ", ShapeString(tensor.shape), ", expected a matrix"));
  }
  return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", name, " is missing"));
}

absl::Status AddTensor(const TensorSource& source, const TensorSource::Tensor& tensor,
                       FlamingoCheckpoint* out) {
  absl::string_view name = tensor.name;
  bool is_alias = false;
  std::optional<std::string> target = BlockName(name, &is_alias);
  if (absl::StartsWith(name, "perceiver.")) target = tensor.name;
  if (is_alias) {
    // Those that the layers name themselves win.
    for (const OutputTensor& known : out->tensors) {
      if (known.name == *target) return absl::OkStatus();
    }
  }
  if (target.has_value()) {
    PREFIXD_ASSIGN_OR_RETURN(OutputTensor added, WholeTensor(source, tensor, *target));
    out->tensors.push_back(std::move(added));
    return absl::OkStatus();
  }
  if (!absl::ConsumePrefix(&name, kLanguage)) return absl::OkStatus();
  if (std::find(std::begin(kEmbeddings), std::end(kEmbeddings), name) == std::end(kEmbeddings)) {
    return absl::OkStatus();  // Buffers, and copies of frozen layers.
  }
  PREFIXD_ASSIGN_OR_RETURN(OutputTensor added, WholeTensor(source, tensor, tensor.name));
  if (added.shape.size() != 2) {
    return TensorError(tensor,
                       absl::StrCat("shape ", ShapeString(added.shape), ", expected a matrix"));
  }
  if (out->num_tokens != 0 && out->num_tokens != added.shape[0]) {
    return TensorError(
        tensor, absl::StrCat(added.shape[0], " rows, another embedding has ", out->num_tokens));
  }
  out->num_tokens = added.shape[0];
  out->embeddings.emplace(name, std::move(added));
  return absl::OkStatus();
}

absl::Status FindBlocks(const TensorSource& source, FlamingoCheckpoint* out) {
  std::set<int> layers;
  for (const OutputTensor& tensor : out->tensors) {
    absl::string_view name = tensor.name;
    int layer = 0;
    if (!absl::ConsumePrefix(&name, kAliases)) continue;
    if (!absl::SimpleAtoi(name.substr(0, name.find('.')), &layer) || layer < 0 || layer > 1023) {
      return TensorError(*tensor.tensor, "stands before no layer");
    }
    layers.insert(layer);
  }
  out->blocks.assign(layers.begin(), layers.end());
  if (out->blocks.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": no gated block"));
  }
  out->cross_every = out->blocks.front() + 1;
  for (size_t i = 0; i < out->blocks.size(); ++i) {
    const int expected = out->cross_every * static_cast<int>(i + 1) - 1;
    if (out->blocks[i] != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(source.path(), ": gated block ", i, " stands before layer ", out->blocks[i],
                       ", expected ", expected, ": before every ", out->cross_every, " layers"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGate(const TensorSource& source, const OutputTensor& tensor) {
  uint8_t bytes[4] = {};
  if (NumElements(tensor.shape) != 1) {
    return TensorError(*tensor.tensor,
                       absl::StrCat("shape ", ShapeString(tensor.shape), ", expected [1]"));
  }
  PREFIXD_RETURN_IF_ERROR(
      source.Read(*tensor.tensor, 0, absl::MakeSpan(bytes, DTypeSize(tensor.dtype))));
  float gate = 0;
  uint16_t half = 0;
  std::memcpy(&half, bytes, sizeof(half));
  std::memcpy(&gate, bytes, sizeof(gate));
  if (tensor.dtype == DType::kF16) gate = F16ToFloat(half);
  if (tensor.dtype == DType::kBF16) gate = BF16ToFloat(half);
  if (std::isfinite(gate) && std::abs(gate) <= kLargestGate) return absl::OkStatus();
  return TensorError(*tensor.tensor, absl::StrCat("the gate is ", gate, ", the range is [-",
                                                  kLargestGate, ", ", kLargestGate, "]"));
}

absl::Status CheckGates(const TensorSource& source, const FlamingoCheckpoint& checkpoint) {
  for (const OutputTensor& tensor : checkpoint.tensors) {
    if (!absl::EndsWith(tensor.name, ".attn_gate") && !absl::EndsWith(tensor.name, ".ff_gate")) {
      continue;
    }
    PREFIXD_RETURN_IF_ERROR(CheckGate(source, tensor));
  }
  return absl::OkStatus();
}

// Heads, their size and the ratio of the MLP, from the matrices of q and of the MLP.
absl::StatusOr<nlohmann::ordered_json> AttentionConfig(const FlamingoCheckpoint& checkpoint,
                                                       const std::string& file, int num_heads,
                                                       const std::string& q,
                                                       const std::string& up) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> q_shape, ShapeOf(checkpoint, file, q));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> up_shape, ShapeOf(checkpoint, file, up));
  if (q_shape[0] % num_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", q, ": ", q_shape[0],
                                                   " rows are not ", num_heads, " heads"));
  }
  return nlohmann::ordered_json{{"heads", num_heads},
                                {"dim_head", q_shape[0] / num_heads},
                                {"ff_mult", up_shape[0] / up_shape[1]}};
}

absl::Status Configure(const std::string& file, int num_heads, FlamingoCheckpoint* out) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> latents,
                           ShapeOf(*out, file, "perceiver.latents"));
  int depth = 0;
  for (const OutputTensor& tensor : out->tensors) {
    absl::string_view name = tensor.name;
    int layer = 0;
    if (absl::ConsumePrefix(&name, "perceiver.layers.") &&
        absl::SimpleAtoi(name.substr(0, name.find('.')), &layer)) {
      depth = std::max(depth, layer + 1);
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(
      out->perceiver_config,
      AttentionConfig(*out, file, num_heads, "perceiver.layers.0.0.to_q.weight",
                      "perceiver.layers.0.1.1.weight"));
  out->perceiver_config["dim"] = latents[1];
  out->perceiver_config["num_latents"] = latents[0];
  out->perceiver_config["depth"] = depth;
  const std::string block = absl::StrCat(kAliases, out->blocks.front(), ".");
  PREFIXD_ASSIGN_OR_RETURN(
      out->cross_attention_config,
      AttentionConfig(*out, file, num_heads, block + "attn.to_q.weight", block + "ff.1.weight"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FlamingoCheckpoint> ReadFlamingoCheckpoint(const TensorSource& source,
                                                          int num_heads) {
  FlamingoCheckpoint checkpoint;
  // Aliases last.
  for (const bool aliases : {false, true}) {
    for (const auto& [name, tensor] : source.tensors()) {
      if (absl::StartsWith(name, absl::StrCat(kLanguage, kAliases)) != aliases) continue;
      PREFIXD_RETURN_IF_ERROR(AddTensor(source, tensor, &checkpoint));
    }
  }
  PREFIXD_RETURN_IF_ERROR(FindBlocks(source, &checkpoint));
  PREFIXD_RETURN_IF_ERROR(CheckGates(source, checkpoint));
  PREFIXD_RETURN_IF_ERROR(Configure(source.path(), num_heads, &checkpoint));
  return checkpoint;
}

}  // namespace prefixd::tools
