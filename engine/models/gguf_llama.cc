#include "engine/models/gguf_llama.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/models/config_reader.h"
#include "engine/models/generation_config.h"
#include "engine/models/llama.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr char kRopeFreqs[] = "rope_freqs.weight";

absl::Status Unsupported(const std::string& path, absl::string_view key,
                         absl::string_view problem) {
  return absl::UnimplementedError(
      absl::StrCat(path, ": ", absl::CHexEscape(key.substr(0, 80)), ": ", problem));
}

// --- Metadata

struct IntKey {
  const char* gguf;
  const char* config;
  bool required;
};

constexpr IntKey kIntKeys[] = {
    {"llama.embedding_length", "hidden_size", true},
    {"llama.block_count", "num_hidden_layers", true},
    {"llama.feed_forward_length", "intermediate_size", true},
    {"llama.attention.head_count", "num_attention_heads", true},
    {"llama.context_length", "max_position_embeddings", true},
    {"llama.attention.head_count_kv", "num_key_value_heads", false},
    {"llama.attention.key_length", "head_dim", false},
    {"llama.vocab_size", "vocab_size", false},
};

// Read elsewhere in this file, or without effect on the results.
constexpr absl::string_view kOtherKeys[] = {
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scaling.finetuned",
};

bool IsKnown(absl::string_view key) {
  return std::any_of(std::begin(kIntKeys), std::end(kIntKeys),
                     [key](const IntKey& known) { return key == known.gguf; }) ||
         std::find(std::begin(kOtherKeys), std::end(kOtherKeys), key) != std::end(kOtherKeys);
}

// Files spell out features that they do not use: zero experts.
bool IsZero(const GgufMetadata& metadata, absl::string_view key) {
  int64_t number = 1;
  bool flag = true;
  return (metadata.Int(key, &number).ok() && number == 0) ||
         (metadata.Bool(key, &flag).ok() && !flag);
}

absl::Status RefuseUnknown(const GgufMetadata& metadata) {
  std::string architecture, type = "model";
  PREFIXD_RETURN_IF_ERROR(metadata.String("general.architecture", &architecture));
  if (architecture.empty()) return metadata.Error("general.architecture", "is missing");
  if (architecture != "llama") {
    return Unsupported(metadata.path(), "general.architecture",
                       absl::StrCat(Quoted(architecture), " is not supported, expected \"llama\""));
  }
  PREFIXD_RETURN_IF_ERROR(metadata.String("general.type", &type));
  if (type != "model") {
    return Unsupported(metadata.path(), "general.type",
                       absl::StrCat(Quoted(type), " is not supported, expected \"model\""));
  }
  int64_t splits = 1;
  PREFIXD_RETURN_IF_ERROR(metadata.Int("split.count", &splits));
  if (splits > 1) {
    return Unsupported(metadata.path(), "split.count",
                       absl::StrCat(splits, " files; a model in several files is not supported"));
  }
  for (const auto& [key, value] : metadata.values()) {
    if (absl::StartsWith(key, "llama.") && !IsKnown(key) && !IsZero(metadata, key)) {
      return Unsupported(metadata.path(), key, "is not supported");
    }
  }
  return absl::OkStatus();
}

absl::Status CopyInts(const GgufMetadata& metadata, json* config) {
  for (const IntKey& key : kIntKeys) {
    if (!metadata.Has(key.gguf)) {
      if (key.required) return metadata.Error(key.gguf, "is missing");
      continue;
    }
    int64_t value = 0;
    PREFIXD_RETURN_IF_ERROR(metadata.Int(key.gguf, &value));
    (*config)[key.config] = value;
  }
  return absl::OkStatus();
}

// Values and rotated part of a head must be as long as its keys.
absl::Status CheckHeadSizes(const GgufMetadata& metadata, const json& config) {
  const int64_t heads = config["num_attention_heads"];
  int64_t head_dim = heads > 0 ? config["hidden_size"].get<int64_t>() / heads : 0;
  if (config.contains("head_dim")) head_dim = config["head_dim"];
  for (const char* key : {"llama.attention.value_length", "llama.rope.dimension_count"}) {
    int64_t size = head_dim;
    PREFIXD_RETURN_IF_ERROR(metadata.Int(key, &size));
    if (size != head_dim) {
      return Unsupported(metadata.path(), key,
                         absl::StrCat(size, ", expected ", head_dim, ", the size of a head"));
    }
  }
  return absl::OkStatus();
}

absl::Status CopyRope(const GgufMetadata& metadata, json* config) {
  double base = 10000, factor = 1;
  std::string scaling = "none";
  PREFIXD_RETURN_IF_ERROR(metadata.Float("llama.rope.freq_base", &base));
  PREFIXD_RETURN_IF_ERROR(metadata.String("llama.rope.scaling.type", &scaling));
  PREFIXD_RETURN_IF_ERROR(metadata.Float("llama.rope.scaling.factor", &factor));
  (*config)["rope_theta"] = base;
  if (scaling == "none") return absl::OkStatus();
  if (scaling != "linear") {
    return Unsupported(metadata.path(), "llama.rope.scaling.type",
                       absl::StrCat(Quoted(scaling), " is not one of none, linear"));
  }
  if (!metadata.Has("llama.rope.scaling.factor")) {
    return metadata.Error("llama.rope.scaling.factor", "is missing");
  }
  (*config)["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
  return absl::OkStatus();
}

// Ends of a turn that files do not always name by key.
constexpr absl::string_view kEndTexts[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                           "<|eom_id|>", "<|end_of_text|>"};
constexpr int32_t kControlToken = 3;

absl::Status CopyEnds(const GgufMetadata& metadata, json* config) {
  std::vector<int64_t> ends;
  const auto add = [&ends](int64_t id) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    int64_t id = -1;
    PREFIXD_RETURN_IF_ERROR(metadata.Int(key, &id));
    if (metadata.Has(key)) add(id);
  }
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  PREFIXD_RETURN_IF_ERROR(metadata.Strings("tokenizer.ggml.tokens", &tokens));
  PREFIXD_RETURN_IF_ERROR(metadata.Ints("tokenizer.ggml.token_type", &types));
  for (size_t id = 0; id < std::min(tokens.size(), types.size()); ++id) {
    if (types[id] != kControlToken || ends.size() >= kMaxEosTokens) continue;
    if (std::find(std::begin(kEndTexts), std::end(kEndTexts), tokens[id]) != std::end(kEndTexts)) {
      add(static_cast<int64_t>(id));
    }
  }
  if (!ends.empty()) (*config)["eos_token_id"] = ends;
  return absl::OkStatus();
}

// --- Tensors

const TensorInfo* FindTensor(const GgufHeader& header, absl::string_view name) {
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

// What the tensors' names say about the configuration. A bias that is there must be used: the
// others of its kind are then required.
absl::Status CopyFromTensors(const GgufHeader& header, json* config) {
  (*config)["tie_word_embeddings"] = FindTensor(header, "output.weight") == nullptr;
  for (const TensorInfo& tensor : header.tensors) {
    if (!absl::StartsWith(tensor.name, "blk.") || !absl::EndsWith(tensor.name, ".bias")) continue;
    if (absl::StrContains(tensor.name, ".attn_")) (*config)["attention_bias"] = true;
    if (absl::StrContains(tensor.name, ".ffn_")) (*config)["mlp_bias"] = true;
  }
  if (config->contains("vocab_size")) return absl::OkStatus();
  const TensorInfo* const embedding = FindTensor(header, "token_embd.weight");
  if (embedding == nullptr) {
    return header.metadata.Error("tensor token_embd.weight", "is missing");
  }
  (*config)["vocab_size"] = embedding->shape[0];
  return absl::OkStatus();
}

absl::Status CheckTypes(const GgufHeader& header) {
  int64_t version = 2;
  PREFIXD_RETURN_IF_ERROR(header.metadata.Int("general.quantization_version", &version));
  for (const TensorInfo& tensor : header.tensors) {
    const std::optional<DType> dtype = ComputableDType(tensor.dtype);
    if (!dtype.has_value()) {
      return Unsupported(header.metadata.path(), absl::StrCat("tensor ", tensor.name),
                         absl::StrCat("element type ", tensor.dtype, " is not supported"));
    }
    if (IsQuantized(*dtype) && version != 2) {
      return Unsupported(header.metadata.path(), "general.quantization_version",
                         absl::StrCat(version, ", expected 2"));
    }
  }
  return absl::OkStatus();
}

// Returns the divisors of the rotary frequencies (Llama 3.1's scaling), or none.
absl::StatusOr<std::vector<float>> ReadRopeDivisors(const File& file, const GgufHeader& header,
                                                    int head_dim) {
  std::vector<float> divisors;
  const TensorInfo* const tensor = FindTensor(header, kRopeFreqs);
  if (tensor == nullptr) return divisors;
  const std::string where = absl::StrCat("tensor ", kRopeFreqs);
  const std::vector<int64_t> expected = {head_dim / 2};
  if (tensor->shape != expected || tensor->dtype != "F32") {
    return header.metadata.Error(
        where, absl::StrCat("shape ", ShapeString(tensor->shape), " of ", tensor->dtype,
                            ", expected ", ShapeString(expected), " of F32"));
  }
  std::vector<uint8_t> bytes(tensor->size_bytes);
  PREFIXD_RETURN_IF_ERROR(file.ReadAt(tensor->begin, absl::MakeSpan(bytes)));
  for (size_t i = 0; i < bytes.size(); i += 4) {
    uint32_t bits = 0;
    for (size_t byte = 0; byte < 4; ++byte) bits |= uint32_t{bytes[i + byte]} << (8 * byte);
    const float divisor = std::bit_cast<float>(bits);
    if (!std::isfinite(divisor) || divisor <= 0) {
      return header.metadata.Error(
          where, absl::StrCat("element ", i / 4, " is ", divisor, ", expected a positive number"));
    }
    divisors.push_back(divisor);
  }
  return divisors;
}

// The converter interleaves the halves of every head of q and k (and of their biases), for the
// rotation of neighbouring pairs.
void MarkInterleaved(int head_dim, std::vector<TensorInfo>* tensors) {
  for (TensorInfo& tensor : *tensors) {
    if (absl::StartsWith(tensor.name, "blk.") && (absl::StrContains(tensor.name, ".attn_q.") ||
                                                  absl::StrContains(tensor.name, ".attn_k."))) {
      tensor.interleaved_rows = head_dim;
    }
  }
}

struct NamedPart {
  absl::string_view gguf, config;
};

constexpr NamedPart kLayerParts[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

}  // namespace

std::string GgufLlamaName(absl::string_view name) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  absl::string_view rest = name;
  if (!absl::ConsumePrefix(&rest, "blk.")) return std::string(name);
  const size_t dot = rest.find('.'), last = rest.rfind('.');
  if (dot == absl::string_view::npos || dot == last) return std::string(name);
  for (const NamedPart& part : kLayerParts) {
    if (rest.substr(dot + 1, last - dot - 1) == part.gguf) {
      return absl::StrCat("model.layers.", rest.substr(0, dot), ".", part.config,
                          rest.substr(last));
    }
  }
  return std::string(name);
}

absl::StatusOr<std::string> GgufLlamaConfig(const GgufHeader& header) {
  const GgufMetadata& metadata = header.metadata;
  PREFIXD_RETURN_IF_ERROR(RefuseUnknown(metadata));
  json config = {{"model_type", "llama"}};
  PREFIXD_RETURN_IF_ERROR(CopyInts(metadata, &config));
  constexpr char kEpsilon[] = "llama.attention.layer_norm_rms_epsilon";
  if (!metadata.Has(kEpsilon)) return metadata.Error(kEpsilon, "is missing");
  double epsilon = 0;
  PREFIXD_RETURN_IF_ERROR(metadata.Float(kEpsilon, &epsilon));
  config["rms_norm_eps"] = epsilon;
  PREFIXD_RETURN_IF_ERROR(CheckHeadSizes(metadata, config));
  PREFIXD_RETURN_IF_ERROR(CopyRope(metadata, &config));
  PREFIXD_RETURN_IF_ERROR(CopyEnds(metadata, &config));
  PREFIXD_RETURN_IF_ERROR(CopyFromTensors(header, &config));
  return config.dump(1);
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGgufModel(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(File file, File::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(GgufHeader header, ReadGgufHeader(file));
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, GgufLlamaConfig(header));
  PREFIXD_ASSIGN_OR_RETURN(const ConfigReader config,
                           ConfigReader::Parse(text, absl::StrCat(path, ": as config.json")));
  LlamaConfig llama = ReadLlamaConfig(config);
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_RETURN_IF_ERROR(CheckTypes(header));
  PREFIXD_ASSIGN_OR_RETURN(llama.rope.divisors, ReadRopeDivisors(file, header, llama.head_dim));
  GenerationDefaults generation;
  PREFIXD_ASSIGN_OR_RETURN(generation, GenerationDefaultsOf({config}, llama.vocab_size));
  MarkInterleaved(llama.head_dim, &header.tensors);
  return MakeLlamaFiles(llama, Checkpoint::OfFile(std::move(file), std::move(header.tensors)),
                        GgufLlamaName, std::move(generation));
}

}  // namespace prefixd
