#include "engine/models/model_loader.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/models/config_reader.h"
#include "engine/models/families.h"
#include "engine/models/gguf_llama.h"
#include "engine/weights/gguf.h"

namespace prefixd {
namespace {

struct Family {
  absl::string_view model_type;
  absl::string_view architecture;
  absl::StatusOr<std::unique_ptr<ModelFiles>> (*open)(const std::string& directory,
                                                      const ConfigReader& config);
};

constexpr Family kFamilies[] = {
    {"gpt2", "GPT2LMHeadModel", OpenGpt2},
    {"gpt_neox", "GPTNeoXForCausalLM", OpenGptNeox},
    {"llama", "LlamaForCausalLM", OpenLlama},
    {"llava", "LlavaForConditionalGeneration", OpenLlava},
    {"llava_llama", "LlavaLlamaForCausalLM", OpenLlava},
    {"mosaic_gpt", "MosaicGPT", OpenMosaicGpt},
    {"mpt", "MPTForCausalLM", OpenMpt},
    {"openflamingo", "OpenFlamingoForConditionalGeneration", OpenOpenFlamingo},
    {"paligemma", "PaliGemmaForConditionalGeneration", OpenPaliGemma},
};

struct NamedActivation {
  absl::string_view name;
  Activation activation;
};

constexpr NamedActivation kActivations[] = {
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"quick_gelu", Activation::kQuickGelu},
    {"relu", Activation::kRelu},
};

// Returns the family that `model_type` names, or else the architecture.
absl::StatusOr<const Family*> FindFamily(const std::string& directory, const ConfigReader& config) {
  std::string model_type, architecture;
  config.String("model_type", &model_type);
  config.FirstString("architectures", &architecture);
  PREFIXD_RETURN_IF_ERROR(config.status());
  for (const Family& family : kFamilies) {
    if (model_type.empty() ? architecture == family.architecture
                           : model_type == family.model_type) {
      return &family;
    }
  }
  if (model_type.empty() && architecture.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, "/config.json: model_type and architectures are missing"));
  }
  return absl::UnimplementedError(
      model_type.empty()
          ? absl::StrCat(directory, "/config.json: architectures: ", Quoted(architecture),
                         " is not supported")
          : absl::StrCat(directory, "/config.json: model_type: ", Quoted(model_type),
                         " is not supported"));
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenDirectory(const std::string& directory) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string path, ResolveInDirectory(directory, "config.json"));
  PREFIXD_ASSIGN_OR_RETURN(const ConfigReader config, ConfigReader::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(const Family* const family, FindFamily(directory, config));
  if (!absl::IsNotFound(ResolveInDirectory(directory, "adapter_config.json").status())) {
    return absl::UnimplementedError(
        absl::StrCat(directory, "/adapter_config.json: adapters are not supported"));
  }
  if (config.Has("auto_map")) PREFIXD_LOG(kWarn, "config ignored=auto_map file=", path);
  return family->open(directory, config);
}

}  // namespace

void RefuseUnsupported(const ConfigReader& config) {
  for (const char* key : {"quantization_config", "num_local_experts", "sliding_window"}) {
    config.RefuseIfPresent(key);
  }
  for (const char* key : {"torch_dtype", "dtype"}) {
    std::string dtype = "auto";
    config.String(key, &dtype);
    if (dtype != "auto" && dtype != "float32" && dtype != "float16" && dtype != "bfloat16") {
      config.Unsupported(key,
                         absl::StrCat(Quoted(dtype), " is not one of float32, float16, bfloat16"));
    }
  }
}

void RefuseOtherModelType(const ConfigReader& config, absl::string_view expected) {
  std::string model_type(expected);
  config.String("model_type", &model_type);
  if (model_type != expected) {
    config.Unsupported("model_type",
                       absl::StrCat(Quoted(model_type), ", expected \"", expected, "\""));
  }
}

void ReadActivation(const ConfigReader& config, const char* key, Activation* activation) {
  std::string name;
  config.String(key, &name);
  if (name.empty()) return;
  for (const NamedActivation& known : kActivations) {
    if (known.name == name) {
      *activation = known.activation;
      return;
    }
  }
  config.Unsupported(key, absl::StrCat(Quoted(name), " is not a known activation"));
}

std::vector<std::string> RegisteredModelTypes() {
  std::vector<std::string> types;
  for (const Family& family : kFamilies) types.emplace_back(family.model_type);
  return types;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenModelFiles(const std::string& model_path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string> gguf, FindGgufFile(model_path));
  if (gguf.has_value()) return OpenGgufModel(*gguf);
  return OpenDirectory(model_path);
}

}  // namespace prefixd
