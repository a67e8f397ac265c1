#include "engine/engine_parts.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/open_backend.h"
#include "engine/open_tokenizer.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/tokenizer_config.h"
#include "engine/weights/gguf.h"

namespace prefixd {
namespace {

constexpr size_t kMaxDigestedFileBytes = 64 << 20;
// How a template spells an image that is no token of the vocabulary.
constexpr char kOriginalPlaceholder[] = "<image>";

absl::StatusOr<ImageDecodeOptions> DecodeOptions(const EngineOptions& options) {
  ImageDecodeOptions decode;
  decode.limits.max_bytes = options.max_image_bytes;
  decode.apply_exif_orientation = options.image_exif_orientation;
  if (options.image_background == "drop") {
    decode.background.reset();
    return decode;
  }
  const std::vector<std::string> parts = absl::StrSplit(options.image_background, ',');
  std::array<uint8_t, 3> colour{};
  bool ok = parts.size() == colour.size();
  for (size_t i = 0; ok && i < colour.size(); ++i) {
    uint32_t value = 0;
    ok = absl::SimpleAtoi(parts[i], &value) && value <= 255;
    colour[i] = static_cast<uint8_t>(value);
  }
  if (!ok) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("image_background is \"", options.image_background,
                                  "\", allowed: R,G,B or drop"),
                     {{"option", "image_background"}});
  }
  decode.background = colour;
  return decode;
}

// Feeds the part of a GGUF file that is in front of the weights.
absl::Status DigestGguf(const std::string& path, Sha256* hash) {
  PREFIXD_ASSIGN_OR_RETURN(const File file, File::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader(file));
  std::string bytes(header.size_bytes, '\0');
  PREFIXD_RETURN_IF_ERROR(
      file.ReadAt(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  hash->Update(absl::string_view("gguf")).Update(uint64_t{bytes.size()}).Update(bytes);
  return absl::OkStatus();
}

// Identifies what the answers depend on besides the weights' bytes.
absl::StatusOr<std::string> DigestFiles(const std::string& model_path) {
  Sha256 hash;
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string> gguf, FindGgufFile(model_path));
  if (gguf.has_value()) {
    PREFIXD_RETURN_IF_ERROR(DigestGguf(*gguf, &hash));
    return ToHex(hash.Finish());
  }
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "preprocessor_config.json", "processor_config.json", "chat_template.jinja",
        "tokenizer.model", "vocab.json", "merges.txt"}) {
    const std::string path = absl::StrCat(model_path, "/", name);
    if (!FileExists(path)) continue;
    PREFIXD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxDigestedFileBytes));
    hash.Update(absl::string_view(name)).Update(uint64_t{bytes.size()}).Update(bytes);
  }
  return ToHex(hash.Finish());
}

SamplingParams SamplingDefaults(const GenerationDefaults& generation) {
  SamplingParams params;
  params.repetition_penalty = generation.repetition_penalty;
  if (!generation.do_sample) return params;  // Greedy.
  params.temperature = generation.temperature;
  params.top_k = generation.top_k;
  params.top_p = generation.top_p;
  return params;
}

std::string ModelName(const EngineOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  std::filesystem::path path = std::filesystem::path(options.model_path).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  return path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
}

// What a chat template prints as bos_token and the like.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> SpecialTokens(
    const std::string& model_path, const Tokenizer& tokenizer) {
  std::vector<std::pair<std::string, std::string>> tokens;
  const auto add = [&tokens](absl::string_view name, std::string token) {
    if (!token.empty()) tokens.emplace_back(name, std::move(token));
  };
  if (tokenizer.bos_token_id()) add("bos_token", tokenizer.TokenBytes(*tokenizer.bos_token_id()));
  if (tokenizer.eos_token_id()) add("eos_token", tokenizer.TokenBytes(*tokenizer.eos_token_id()));
  if (std::filesystem::is_directory(model_path)) {
    PREFIXD_ASSIGN_OR_RETURN(const TokenizerConfig config, TokenizerConfig::Read(model_path));
    add("unk_token", config.unk_token);
    add("pad_token", config.pad_token);
  }
  return tokens;
}

bool NamesFile(absl::string_view chat_template) {
  return absl::EndsWith(chat_template, ".jinja") || absl::StrContains(chat_template, '/');
}

// The template that the options ask for, else the model's own, else its family's.
absl::StatusOr<std::unique_ptr<const ChatTemplate>> OpenChatTemplate(const EngineOptions& options,
                                                                     const ModelSpec& spec,
                                                                     const Tokenizer& tokenizer) {
  ChatTemplateOptions chat;
  chat.max_output_bytes = 4 * options.max_prompt_bytes;
  if (spec.image) {
    chat.image_placeholder = spec.image->token_id < spec.vocab_size
                                 ? tokenizer.TokenBytes(spec.image->token_id)
                                 : kOriginalPlaceholder;
  }
  PREFIXD_ASSIGN_OR_RETURN(chat.special_tokens, SpecialTokens(options.model_path, tokenizer));
  if (NamesFile(options.chat_template)) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string text,
                             ReadFile(options.chat_template, kMaxChatTemplateBytes));
    return ChatTemplate::Find(text, chat);
  }
  chat.forced = options.chat_template;
  if (chat.forced.empty() && tokenizer.chat_template().empty()) chat.forced = spec.chat_template;
  return ChatTemplate::Find(tokenizer.chat_template(), chat);
}

absl::Status OpenPrompts(EngineParts* parts) {
  const EngineOptions& options = parts->options;
  const ModelSpec& spec = parts->model_files->spec();
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<const Tokenizer> tokenizer,
                           OpenTokenizer(options.model_path));
  if (tokenizer->vocab_size() > spec.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.model_path, ": the tokenizer has ", tokenizer->vocab_size(),
                     " tokens, the model has ", spec.vocab_size, " embedding rows"));
  }
  absl::StatusOr<std::unique_ptr<const ChatTemplate>> chat =
      OpenChatTemplate(options, spec, *tokenizer);
  // A model without a usable template still serves prompts; one that was asked for must work.
  if (!chat.ok() && !options.chat_template.empty()) return chat.status();

  PromptBuilderOptions prompt{.context_length = spec.context_length,
                              .vocab_size = spec.vocab_size,
                              .max_prompt_rows = MaxPromptRows(spec),
                              .max_prompt_bytes = options.max_prompt_bytes};
  if (!chat.ok()) {
    prompt.chat_problem = absl::StrCat(
        chat.status().message(), "; send a prompt, or start the server with ", "--chat-template");
  }
  prompt.keys = {.model_digest = parts->model_info.digest,
                 .kv_dtype = parts->runtime_info.kv_dtype};
  parts->images = std::make_unique<ImageStore>(options.image_cache_memory);
  std::unique_ptr<const ImageResolver> images;
  if (spec.image) {
    const uint64_t side = static_cast<uint64_t>(spec.image->image_size);
    parts->image_bytes = 3 * side * side * sizeof(float);
    prompt.image = {.token_id = spec.image->token_id,
                    .tokens_per_image = spec.image->tokens_per_image,
                    .max_images = std::min(options.max_images, spec.image->max_images)};
    PREFIXD_ASSIGN_OR_RETURN(const ImageDecodeOptions decode, DecodeOptions(options));
    PREFIXD_ASSIGN_OR_RETURN(
        ImageProcessor loaded,
        ImageProcessor::Load(options.model_path, spec.image->image_size,
                             {.pad_to_square = spec.image->pad_to_square,
                              .may_lack_file = spec.image->has_default_processor}));
    images = std::make_unique<const ImageResolver>(
        CreateInProcessImageDecoder(decode),
        std::make_unique<const ImageProcessor>(std::move(loaded)), parts->images.get());
  }
  parts->model_info.chat_template = chat.ok() ? std::string((*chat)->name()) : "";
  parts->model_info.chat_problem = prompt.chat_problem;
  parts->prompts = std::make_unique<const PromptBuilder>(
      prompt, std::move(tokenizer), chat.ok() ? *std::move(chat) : nullptr, std::move(images));
  return absl::OkStatus();
}

absl::Status DescribeModel(EngineParts* parts) {
  const ModelSpec& spec = parts->model_files->spec();
  EngineModelInfo& info = parts->model_info;
  info.name = ModelName(parts->options);
  info.family = spec.family;
  info.weights_dtype = spec.weights_dtype;
  PREFIXD_ASSIGN_OR_RETURN(info.digest, DigestFiles(parts->options.model_path));
  info.num_parameters = spec.num_parameters;
  info.weight_bytes = spec.weight_bytes;
  info.context_length = spec.context_length;
  info.vocab_size = spec.vocab_size;
  info.supports_images = spec.image.has_value();
  if (spec.image) {
    info.tokens_per_image = spec.image->tokens_per_image;
    info.image_token_id = spec.image->token_id;
    info.max_images = std::min(parts->options.max_images, spec.image->max_images);
  }
  info.eos_token_ids = spec.generation.eos_token_ids;
  info.sampling_defaults = SamplingDefaults(spec.generation);
  info.max_output_tokens = parts->options.max_output_tokens;
  return absl::OkStatus();
}

absl::Status OpenRetention(EngineParts* parts) {
  const int num_layers = parts->model_files->spec().num_layers;
  PREFIXD_ASSIGN_OR_RETURN(RetentionCatalogue catalogue,
                           RetentionCatalogue::Create(parts->options, num_layers));
  EngineModelInfo& info = parts->model_info;
  info.num_layers = num_layers;
  for (const RetentionPolicy* policy : RetentionPolicies()) {
    info.policies.emplace_back(policy->name());
  }
  info.profiles = catalogue.ProfileNames();
  info.retention_defaults = catalogue.defaults();
  parts->retention = std::make_shared<const RetentionCatalogue>(std::move(catalogue));
  return absl::OkStatus();
}

absl::Status OpenClassSets(EngineParts* parts) {
  const ClassificationOptions& options = parts->options.classification;
  std::unique_ptr<ClassSetStore> store;
  if (!options.state_dir.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(store, ClassSetStore::Open(options));
  }
  PREFIXD_ASSIGN_OR_RETURN(parts->class_sets, ClassSets::Create(options, std::move(store)));
  return absl::OkStatus();
}

StepLoopOptions LoopOptions(const EngineParts& parts) {
  return {.model_name = parts.model_info.name,
          .max_batch_tokens = parts.options.max_batch_tokens,
          .prefill_chunk = parts.options.prefill_chunk,
          .max_running = parts.options.max_running,
          .max_output_tokens = parts.options.max_output_tokens,
          .reserve_all = parts.options.admission == "reserve",
          .pinned_share = parts.options.pinned_percent / 100.0,
          .feature_cache_memory = parts.options.feature_cache_memory,
          .page_bytes = parts.page_bytes,
          .scoring_workspace = parts.options.classification.scoring_workspace,
          .tenants = parts.options.tenants,
          .prefixes = parts.prefixes.get(),
          .retention = parts.retention,
          .guard = {.sample_rate = parts.options.guard_sample_rate,
                    .min_agreement = parts.options.guard_min_agreement,
                    .max_drift = parts.options.guard_max_drift,
                    .budget_step = parts.options.guard_budget_step},
          .check_invariants = parts.options.check_invariants};
}

}  // namespace

absl::StatusOr<EngineParts> OpenEngineParts(const EngineOptions& options) {
  PREFIXD_RETURN_IF_ERROR(options.Validate());
  EngineParts parts;
  parts.options = options;
  PREFIXD_ASSIGN_OR_RETURN(parts.model_files, OpenModelFiles(options.model_path));
  PREFIXD_ASSIGN_OR_RETURN(OpenedBackend opened, OpenBackend(options, parts.model_files->spec()));
  parts.backend = std::move(opened.backend);
  parts.kv_shape = opened.kv_shape;
  parts.page_bytes = opened.page_bytes;
  parts.runtime_info = std::move(opened.runtime_info);
  PREFIXD_RETURN_IF_ERROR(DescribeModel(&parts));
  PREFIXD_RETURN_IF_ERROR(OpenPrompts(&parts));
  PREFIXD_RETURN_IF_ERROR(OpenRetention(&parts));
  PREFIXD_RETURN_IF_ERROR(OpenClassSets(&parts));
  parts.prefixes = std::make_unique<PrefixRegistry>();
  return parts;
}

absl::StatusOr<std::unique_ptr<StepLoop>> BuildStepLoop(EngineParts* parts,
                                                        const LoadProgress& progress,
                                                        const Clock* clock,
                                                        StepLoop::Listener listener) {
  const StepLoopOptions options = LoopOptions(*parts);
  PREFIXD_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> model,
      parts->model_files->Load(parts->backend.get(),
                               StepLoop::LimitsFor(options, parts->model_files->spec()), progress));
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<KvPool> pool,
                           parts->backend->CreateKvPool(parts->kv_shape));
  return StepLoop::Create(options, parts->backend.get(), std::move(model), std::move(pool),
                          &parts->prompts->tokenizer(), clock, std::move(listener));
}

}  // namespace prefixd
