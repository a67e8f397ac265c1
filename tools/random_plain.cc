// tiny-gpt2, gpt2-124m, tiny-mpt, tiny-neox: decoders of LayerNorm layers with a two-matrix MLP.
#include "tools/random_plain.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

const json& ByteLevelProcessor() {
  static const auto* const kProcessor = new json{{"type", "ByteLevel"},
                                                 {"add_prefix_space", false},
                                                 {"trim_offsets", true},
                                                 {"use_regex", true}};
  return *kProcessor;
}

void AddVector(const std::string& name, int64_t size, std::vector<TensorToWrite>* out) {
  out->push_back({.name = name, .shape = {size}});
}

void AddLayerNorm(const std::string& name, int64_t size, std::vector<TensorToWrite>* out) {
  AddVector(name + ".weight", size, out);
  AddVector(name + ".bias", size, out);
}

absl::Status WriteTokenizer(const std::vector<RandomAddedToken>& added, int first_byte,
                            int end_of_text, const std::string& directory) {
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer.json",
                                    ByteLevelTokenizer(added, first_byte, ByteLevelProcessor())));
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer_config.json",
                                    {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                     {"bos_token", "<|endoftext|>"},
                                     {"eos_token", "<|endoftext|>"},
                                     {"unk_token", "<|endoftext|>"}}));
  return WriteJson(directory, "generation_config.json",
                   {{"bos_token_id", end_of_text}, {"eos_token_id", end_of_text}});
}

// --- GPT-2

constexpr int kGpt2EndOfText = 2, kGpt2FirstByte = 5;  // As in the other tiny shapes.

// A weight of the file is [inputs, outputs].
void AddConv1d(const std::string& name, int64_t inputs, int64_t outputs,
               std::vector<TensorToWrite>* out) {
  out->push_back({.name = name + ".weight", .shape = {inputs, outputs}});
  AddVector(name + ".bias", outputs, out);
}

std::vector<TensorToWrite> Gpt2Tensors(const RandomModelShape& shape) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size;
  std::vector<TensorToWrite> tensors;
  tensors.push_back({.name = "wte.weight", .shape = {shape.vocab_size, D}});
  tensors.push_back({.name = "wpe.weight", .shape = {shape.max_positions, D}});
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat("h.", i, ".");
    AddLayerNorm(layer + "ln_1", D, &tensors);
    AddConv1d(layer + "attn.c_attn", D, 3 * D, &tensors);
    AddConv1d(layer + "attn.c_proj", D, D, &tensors);
    AddLayerNorm(layer + "ln_2", D, &tensors);
    AddConv1d(layer + "mlp.c_fc", D, I, &tensors);
    AddConv1d(layer + "mlp.c_proj", I, D, &tensors);
  }
  AddLayerNorm("ln_f", D, &tensors);
  return tensors;
}

RandomDistribution Gpt2Distribution(const TensorToWrite& tensor) {
  if (!absl::StrContains(tensor.name, ".c_") || tensor.shape.size() != 2) {
    return UsualDistribution(tensor);
  }
  return {0, 0.5f / std::sqrt(static_cast<float>(tensor.shape[0]))};
}

absl::Status WriteGpt2Files(const RandomModelShape& shape, DType dtype,
                            const std::string& directory) {
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json",
                                    {{"model_type", "gpt2"},
                                     {"architectures", {"GPT2LMHeadModel"}},
                                     {"vocab_size", shape.vocab_size},
                                     {"n_positions", shape.max_positions},
                                     {"n_ctx", shape.max_positions},
                                     {"n_embd", shape.hidden_size},
                                     {"n_inner", shape.intermediate_size},
                                     {"n_layer", shape.num_layers},
                                     {"n_head", shape.num_heads},
                                     {"activation_function", "gelu_new"},
                                     {"layer_norm_epsilon", 1e-5},
                                     {"bos_token_id", kGpt2EndOfText},
                                     {"eos_token_id", kGpt2EndOfText},
                                     {"torch_dtype", DTypeInConfig(dtype)}}));
  return WriteTokenizer({{0, "<|reserved0|>", true},
                         {1, "<|reserved1|>", true},
                         {kGpt2EndOfText, "<|endoftext|>", true},
                         {3, "<|reserved3|>", true},
                         {4, "<|reserved4|>", true}},
                        kGpt2FirstByte, kGpt2EndOfText, directory);
}

constexpr RandomModelFamily kGpt2 = {
    .tensors = Gpt2Tensors, .distribution = Gpt2Distribution, .write_files = WriteGpt2Files};

constexpr std::array<const char*, 3> kUnusedNames = {"<|reserved2|>", "<|reserved3|>",
                                                     "<|reserved4|>"};

// --- MPT

std::vector<TensorToWrite> MptTensors(const RandomModelShape& shape) {
  std::vector<TensorToWrite> tensors;
  AddMptTensors(shape, "", &tensors);
  return tensors;
}

absl::Status WriteMptFiles(const RandomModelShape& shape, DType dtype,
                           const std::string& directory) {
  json config = MptConfigJson(shape);
  config["architectures"] = {"MPTForCausalLM"};
  config["torch_dtype"] = DTypeInConfig(dtype);
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json", config));
  return WriteNeoxTokenizer(kUnusedNames, directory);
}

constexpr RandomModelFamily kMpt = {
    .tensors = MptTensors, .distribution = nullptr, .write_files = WriteMptFiles};

// --- GPT-NeoX

std::vector<TensorToWrite> NeoxTensors(const RandomModelShape& shape) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size, V = shape.vocab_size;
  std::vector<TensorToWrite> tensors;
  tensors.push_back({.name = "gpt_neox.embed_in.weight", .shape = {V, D}});
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat("gpt_neox.layers.", i, ".");
    AddLayerNorm(layer + "input_layernorm", D, &tensors);
    AddLinear(layer + "attention.query_key_value", 3 * D, D, true, &tensors);
    AddLinear(layer + "attention.dense", D, D, true, &tensors);
    AddLayerNorm(layer + "post_attention_layernorm", D, &tensors);
    AddLinear(layer + "mlp.dense_h_to_4h", I, D, true, &tensors);
    AddLinear(layer + "mlp.dense_4h_to_h", D, I, true, &tensors);
  }
  AddLayerNorm("gpt_neox.final_layer_norm", D, &tensors);
  AddLinear("embed_out", V, D, false, &tensors);
  return tensors;
}

absl::Status WriteNeoxFiles(const RandomModelShape& shape, DType dtype,
                            const std::string& directory) {
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json",
                                    {{"model_type", "gpt_neox"},
                                     {"architectures", {"GPTNeoXForCausalLM"}},
                                     {"vocab_size", shape.vocab_size},
                                     {"hidden_size", shape.hidden_size},
                                     {"intermediate_size", shape.intermediate_size},
                                     {"num_hidden_layers", shape.num_layers},
                                     {"num_attention_heads", shape.num_heads},
                                     {"max_position_embeddings", shape.max_positions},
                                     {"rotary_pct", 0.5},
                                     {"rotary_emb_base", 10000},
                                     {"use_parallel_residual", true},
                                     {"bos_token_id", kNeoxEndOfText},
                                     {"eos_token_id", kNeoxEndOfText},
                                     {"torch_dtype", DTypeInConfig(dtype)}}));
  return WriteNeoxTokenizer(kUnusedNames, directory);
}

constexpr RandomModelFamily kNeox = {
    .tensors = NeoxTensors, .distribution = nullptr, .write_files = WriteNeoxFiles};

RandomModelShape Shape(std::string name, const RandomModelFamily* family, int hidden_size,
                       int intermediate_size, int num_layers, int num_heads) {
  return {.name = std::move(name),
          .hidden_size = hidden_size,
          .intermediate_size = intermediate_size,
          .num_layers = num_layers,
          .num_heads = num_heads,
          .num_kv_heads = num_heads,
          .vocab_size = 320,
          .max_positions = 1024,
          .family = family};
}

}  // namespace

absl::Status WriteNeoxTokenizer(const std::array<const char*, 3>& names,
                                const std::string& directory) {
  return WriteTokenizer({{kNeoxEndOfText, "<|endoftext|>", true},
                         {kNeoxPadding, "<|padding|>", true},
                         {2, names[0], true},
                         {3, names[1], true},
                         {4, names[2], true}},
                        kNeoxFirstByte, kNeoxEndOfText, directory);
}

void AddMptTensors(const RandomModelShape& shape, const std::string& prefix,
                   std::vector<TensorToWrite>* out) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size;
  const std::string root = prefix + "transformer.";
  out->push_back({.name = root + "wte.weight", .shape = {shape.vocab_size, D}});
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat(root, "blocks.", i, ".");
    AddVector(layer + "norm_1.weight", D, out);
    AddLinear(layer + "attn.Wqkv", 3 * D, D, false, out);
    AddLinear(layer + "attn.out_proj", D, D, false, out);
    AddVector(layer + "norm_2.weight", D, out);
    AddLinear(layer + "ffn.up_proj", I, D, false, out);
    AddLinear(layer + "ffn.down_proj", D, I, false, out);
  }
  AddVector(root + "norm_f.weight", D, out);
}

json MptConfigJson(const RandomModelShape& shape) {
  return {{"model_type", "mpt"},
          {"d_model", shape.hidden_size},
          {"n_heads", shape.num_heads},
          {"n_layers", shape.num_layers},
          {"expansion_ratio", shape.intermediate_size / shape.hidden_size},
          {"max_seq_len", shape.max_positions},
          {"vocab_size", shape.vocab_size},
          {"no_bias", true},
          {"norm_type", "low_precision_layernorm"},
          {"attn_config",
           {{"attn_type", "multihead_attention"},
            {"alibi", true},
            {"alibi_bias_max", 8},
            {"qk_ln", false},
            {"clip_qkv", nullptr},
            {"prefix_lm", false}}}};
}

std::vector<RandomModelShape> RandomPlainShapes() {
  RandomModelShape gpt2_124m = Shape("gpt2-124m", &kGpt2, 768, 3072, 12, 12);
  gpt2_124m.vocab_size = 50257;
  return {gpt2_124m, Shape("tiny-gpt2", &kGpt2, 64, 256, 3, 4),
          Shape("tiny-mpt", &kMpt, 96, 384, 3, 6),  // Six heads: not a power of two.
          Shape("tiny-neox", &kNeox, 64, 128, 3, 4)};
}

}  // namespace prefixd
