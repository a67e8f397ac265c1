// tiny-paligemma: a PaliGemma directory with one kv head, heads of 72 in the tower, and a
// byte-level tokenizer with a few location and segmentation tokens.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "tools/random_model.h"
#include "tools/random_model_files.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr int kHeadDim = 16;
// Numbered as in the other tiny shapes; bytes follow, then what PaliGemma adds.
constexpr int kUnknown = 0, kBos = 1, kEos = 2, kImage = 3, kPad = 4, kFirstByte = 5;
constexpr int kFirstLocation = kFirstByte + 256, kNumLocations = 16;
constexpr int kFirstSegment = kFirstLocation + kNumLocations, kNumSegments = 16;

std::vector<TensorToWrite> Tensors(const RandomModelShape& shape) {
  const RandomVisionShape& vision = *shape.vision;
  const int64_t D = vision.hidden_size, P = vision.patch_size;
  const int64_t grid = vision.image_size / vision.patch_size;
  const std::string tower = "vision_tower.vision_model.";
  std::vector<TensorToWrite> tensors;
  tensors.push_back({.name = tower + "embeddings.patch_embedding.weight", .shape = {D, 3, P, P}});
  tensors.push_back({.name = tower + "embeddings.patch_embedding.bias", .shape = {D}});
  tensors.push_back(
      {.name = tower + "embeddings.position_embedding.weight", .shape = {grid * grid, D}});
  AddTowerLayers(vision, tower, &tensors);
  AddLinear("multi_modal_projector.linear", shape.hidden_size, D, true, &tensors);
  AddTextTensors(shape, kHeadDim, "language_model.", &tensors);
  return tensors;
}

// Gemma's norms keep their difference from one.
RandomDistribution DistributionOf(const TensorToWrite& tensor) {
  RandomDistribution distribution = UsualDistribution(tensor);
  const bool is_text = absl::StartsWith(tensor.name, "language_model.");
  if (is_text && tensor.shape.size() == 1) distribution.mean = 0;
  return distribution;
}

json Config(const RandomModelShape& shape, DType dtype) {
  const RandomVisionShape& vision = *shape.vision;
  const int grid = vision.image_size / vision.patch_size;
  return {{"model_type", "paligemma"},
          {"architectures", {"PaliGemmaForConditionalGeneration"}},
          {"bos_token_id", kBos},
          {"eos_token_id", kEos},
          {"pad_token_id", kPad},
          {"image_token_index", kImage},
          {"hidden_size", shape.hidden_size},
          {"projection_dim", shape.hidden_size},
          {"torch_dtype", DTypeInConfig(dtype)},
          {"text_config",
           {{"model_type", "gemma"},
            {"hidden_size", shape.hidden_size},
            {"intermediate_size", shape.intermediate_size},
            {"num_hidden_layers", shape.num_layers},
            {"num_attention_heads", shape.num_heads},
            {"num_key_value_heads", shape.num_kv_heads},
            {"head_dim", kHeadDim},
            {"max_position_embeddings", shape.max_positions},
            {"num_image_tokens", grid * grid},
            {"vocab_size", shape.vocab_size}}},
          {"vision_config",
           {{"model_type", "siglip_vision_model"},
            {"hidden_size", vision.hidden_size},
            {"intermediate_size", vision.intermediate_size},
            {"num_hidden_layers", vision.num_layers},
            {"num_attention_heads", vision.num_heads},
            {"image_size", vision.image_size},
            {"patch_size", vision.patch_size},
            {"projection_dim", shape.hidden_size},
            {"projector_hidden_act", "gelu_fast"},
            {"vision_use_head", false}}}};
}

json Tokenizer() {
  std::vector<RandomAddedToken> added = {{kUnknown, "<unk>", true},
                                         {kBos, "<bos>", true},
                                         {kEos, "<eos>", true},
                                         {kImage, "<image>", true},
                                         {kPad, "<pad>", true}};
  for (int i = 0; i < kNumLocations; ++i) {
    added.push_back({kFirstLocation + i, absl::StrFormat("<loc%04d>", i), false});
  }
  for (int i = 0; i < kNumSegments; ++i) {
    added.push_back({kFirstSegment + i, absl::StrFormat("<seg%03d>", i), false});
  }
  const json bos = {{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}};
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json pair = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  return ByteLevelTokenizer(
      added, kFirstByte,
      {{"type", "TemplateProcessing"},
       {"single", {bos, text}},
       {"pair", {bos, text, bos, pair}},
       {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {kBos}}, {"tokens", {"<bos>"}}}}}}});
}

absl::Status WriteFiles(const RandomModelShape& shape, DType dtype, const std::string& directory) {
  const RandomVisionShape& vision = *shape.vision;
  const int grid = vision.image_size / vision.patch_size;
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json", Config(shape, dtype)));
  PREFIXD_RETURN_IF_ERROR(
      WriteJson(directory, "generation_config.json",
                {{"bos_token_id", kBos}, {"eos_token_id", kEos}, {"pad_token_id", kPad}}));
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer.json", Tokenizer()));
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "tokenizer_config.json",
                                    {{"tokenizer_class", "GemmaTokenizer"},
                                     {"bos_token", "<bos>"},
                                     {"eos_token", "<eos>"},
                                     {"unk_token", "<unk>"},
                                     {"pad_token", "<pad>"}}));
  return WriteJson(directory, "preprocessor_config.json",
                   {{"image_processor_type", "SiglipImageProcessor"},
                    {"processor_class", "PaliGemmaProcessor"},
                    {"do_convert_rgb", nullptr},
                    {"do_resize", true},
                    {"size", {{"height", vision.image_size}, {"width", vision.image_size}}},
                    {"resample", 3},
                    {"do_rescale", true},
                    {"rescale_factor", 0.00392156862745098},
                    {"do_normalize", true},
                    {"image_mean", {0.5, 0.5, 0.5}},
                    {"image_std", {0.5, 0.5, 0.5}},
                    {"image_seq_length", grid * grid}});
}

constexpr RandomModelFamily kPaliGemma = {
    .tensors = Tensors, .distribution = DistributionOf, .write_files = WriteFiles};

}  // namespace

const RandomModelShape& TinyPaliGemma() {
  static const auto* const kShape =
      new RandomModelShape{.name = "tiny-paligemma",
                           .hidden_size = 64,
                           .intermediate_size = 96,
                           .num_layers = 3,
                           .num_heads = 4,
                           .num_kv_heads = 1,
                           .vocab_size = 320,
                           .max_positions = 2048,
                           .tie_word_embeddings = true,
                           .vision = RandomVisionShape{.hidden_size = 72,
                                                       .intermediate_size = 96,
                                                       .num_layers = 2,
                                                       .num_heads = 1,
                                                       .image_size = 42,
                                                       .patch_size = 14},
                           .family = &kPaliGemma};
  return *kShape;
}

}  // namespace prefixd
