// The small files of a random checkpoint: configuration, tokenizer, image processor.
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/random_model.h"
#include "tools/random_model_files.h"

namespace prefixd {
namespace {

using nlohmann::json;

// Ids of the special tokens; the 256 byte tokens follow them.
constexpr const char* kSpecials[] = {"<unk>", "<s>", "</s>", "<image>", "<pad>"};
constexpr int kBos = 1, kEos = 2, kImage = 3, kPad = 4, kFirstByte = 5;

// The template of llava-1.5-7b-hf, which the daemon has a renderer for.
constexpr char kLlavaTemplate[] =
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";

std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

// The printable character that stands for `byte` in byte-level vocabularies (GPT-2): itself where
// it is printable, else the next code point from 256 on.
std::string ByteCharacter(int byte) {
  const auto is_printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  if (is_printable(byte)) return Utf8(byte);
  int code_point = 256;
  for (int b = 0; b < byte; ++b) code_point += is_printable(b) ? 0 : 1;
  return Utf8(code_point);
}

json TextConfig(const RandomModelShape& shape) {
  return {{"model_type", "llama"},
          {"hidden_size", shape.hidden_size},
          {"intermediate_size", shape.intermediate_size},
          {"num_hidden_layers", shape.num_layers},
          {"num_attention_heads", shape.num_heads},
          {"num_key_value_heads", shape.num_kv_heads},
          {"vocab_size", shape.vocab_size},
          {"max_position_embeddings", shape.max_positions},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", shape.rope_theta},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", shape.tie_word_embeddings},
          {"bos_token_id", kBos},
          {"eos_token_id", kEos},
          {"pad_token_id", kPad}};
}

json VisionConfig(const RandomVisionShape& vision) {
  return {{"model_type", "clip_vision_model"},
          {"hidden_size", vision.hidden_size},
          {"intermediate_size", vision.intermediate_size},
          {"num_hidden_layers", vision.num_layers},
          {"num_attention_heads", vision.num_heads},
          {"image_size", vision.image_size},
          {"patch_size", vision.patch_size},
          {"hidden_act", "quick_gelu"}};
}

json Config(const RandomModelShape& shape, DType dtype) {
  json config;
  if (!shape.vision.has_value()) {
    config = TextConfig(shape);
    config["architectures"] = {"LlamaForCausalLM"};
  } else {
    const int grid = shape.vision->image_size / shape.vision->patch_size;
    config = {{"model_type", "llava"},
              {"architectures", {"LlavaForConditionalGeneration"}},
              {"image_token_index", kImage},
              {"image_seq_length", grid * grid},
              {"tie_word_embeddings", shape.tie_word_embeddings},
              {"text_config", TextConfig(shape)},
              {"vision_config", VisionConfig(*shape.vision)}};
  }
  config["torch_dtype"] = DTypeInConfig(dtype);
  return config;
}

json Tokenizer() {
  std::vector<RandomAddedToken> added;
  for (int id = 0; id < kFirstByte; ++id) added.push_back({id, kSpecials[id], true});
  const json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json pair = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  return ByteLevelTokenizer(
      added, kFirstByte,
      {{"type", "TemplateProcessing"},
       {"single", {bos, text}},
       {"pair", {bos, text, bos, pair}},
       {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {kBos}}, {"tokens", {"<s>"}}}}}}});
}

json TokenizerConfig() {
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"bos_token", "<s>"},
          {"eos_token", "</s>"},
          {"unk_token", "<unk>"},
          {"pad_token", "<pad>"},
          {"chat_template", kLlavaTemplate}};
}

json PreprocessorConfig(const RandomVisionShape& vision) {
  return {{"image_processor_type", "CLIPImageProcessor"},
          {"do_convert_rgb", true},
          {"do_resize", true},
          {"size", {{"shortest_edge", vision.image_size}}},
          {"resample", 3},
          {"do_center_crop", true},
          {"crop_size", {{"height", vision.image_size}, {"width", vision.image_size}}},
          {"do_rescale", true},
          {"rescale_factor", 0.00392156862745098},
          {"do_normalize", true},
          {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
          {"image_std", {0.26862954, 0.26130258, 0.27577711}}};
}

}  // namespace

std::string DTypeInConfig(DType dtype) {
  if (dtype == DType::kF32) return "float32";
  return dtype == DType::kF16 ? "float16" : "bfloat16";
}

json ByteLevelTokenizer(const std::vector<RandomAddedToken>& added, int first_byte,
                        const json& post_processor) {
  json tokens = json::array();
  json vocab = json::object();
  for (const RandomAddedToken& token : added) {
    tokens.push_back({{"id", token.id},
                      {"content", token.content},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", token.special}});
    vocab[token.content] = token.id;
  }
  for (int byte = 0; byte < 256; ++byte) vocab[ByteCharacter(byte)] = first_byte + byte;
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", tokens},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", post_processor},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", json::array()}}}};
}

absl::Status WriteJson(const std::string& directory, const char* name, const json& value) {
  const std::string text = value.dump(1);
  return WriteFileAtomically(
      absl::StrCat(directory, "/", name),
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

absl::Status WriteRandomModelFiles(const RandomModelShape& shape, DType dtype,
                                   const std::string& directory) {
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json", Config(shape, dtype)));
  PREFIXD_RETURN_IF_ERROR(
      WriteJson(directory, "generation_config.json",
                {{"bos_token_id", kBos}, {"eos_token_id", kEos}, {"pad_token_id", kPad}}));
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer.json", Tokenizer()));
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer_config.json", TokenizerConfig()));
  if (!shape.vision.has_value()) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(
      WriteJson(directory, "preprocessor_config.json", PreprocessorConfig(*shape.vision)));
  return WriteJson(directory, "processor_config.json",
                   {{"processor_class", "LlavaProcessor"},
                    {"patch_size", shape.vision->patch_size},
                    {"vision_feature_select_strategy", "default"},
                    {"num_additional_image_tokens", 1},
                    {"image_token", "<image>"}});
}

}  // namespace prefixd
