// convert llava: the original layout in pickles, to one directory of safetensors with the tower.
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/conversion.h"
#include "tools/convert.h"
#include "tools/convert_tower.h"

namespace prefixd::tools {
namespace {

constexpr char kTowerPrefix[] = "model.vision_tower.vision_tower.vision_model.";
constexpr char kAnyTower[] = "model.vision_tower.";
constexpr const char* kOtherFiles[] = {"generation_config.json", "preprocessor_config.json"};

absl::Status CheckIsOriginal(const std::string& path, const nlohmann::ordered_json& config) {
  const auto text = [&](const char* key) {
    return config.contains(key) && config[key].is_string() ? config[key].get<std::string>() : "";
  };
  const std::string type = text("model_type");
  if ((type == "llava" || type == "llava_llama") && !config.contains("text_config")) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": model_type \"", type, "\"",
                   config.contains("text_config") ? " with text_config" : "",
                   ", expected the original layout: llava or llava_llama without text_config"));
}

}  // namespace

absl::Status ConvertLlava(const ConvertLlavaOptions& options) {
  const std::string config_path = absl::StrCat(options.model, "/config.json");
  PREFIXD_ASSIGN_OR_RETURN(nlohmann::ordered_json config, ReadOrderedJson(config_path));
  PREFIXD_RETURN_IF_ERROR(CheckIsOriginal(config_path, config));
  PREFIXD_ASSIGN_OR_RETURN(const TensorSource model, TensorSource::Open(options.model));
  std::vector<OutputTensor> tensors;
  bool has_tower = false;
  for (const auto& [name, tensor] : model.tensors()) {
    if (!IsWeight(tensor)) continue;
    has_tower = has_tower || absl::StartsWith(name, kAnyTower);
    PREFIXD_ASSIGN_OR_RETURN(OutputTensor out, WholeTensor(model, tensor, name));
    tensors.push_back(std::move(out));
  }
  std::optional<TensorSource> tower_source;
  if (!options.vision_tower.empty()) {
    if (has_tower) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.model, ": holds a tower already; leave out --vision-tower"));
    }
    PREFIXD_ASSIGN_OR_RETURN(tower_source, TensorSource::Open(options.vision_tower));
  }
  const TensorSource& source = tower_source.has_value() ? *tower_source : model;
  if (!tower_source.has_value() && !has_tower) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.model, ": the weights lack the vision tower; name it with --vision-tower"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Tower tower, ReadTower(source, options.vision_heads));
  if (tower_source.has_value()) {
    for (OutputTensor& tensor : tower.tensors) {
      tensor.name = kTowerPrefix + tensor.name;
      tensors.push_back(std::move(tensor));
    }
  }
  // What a model in one piece says of its tower wins.
  if (!config.contains("vision_config")) config["vision_config"] = tower.config;

  PREFIXD_ASSIGN_OR_RETURN(OutputDirectory out, OutputDirectory::Create(options.out));
  PREFIXD_RETURN_IF_ERROR(out.CopyFiles(options.model, kTokenizerFiles));
  PREFIXD_RETURN_IF_ERROR(out.CopyFiles(options.model, kOtherFiles));
  if (tower_source.has_value() && !FileExists(options.model + "/preprocessor_config.json")) {
    PREFIXD_RETURN_IF_ERROR(out.CopyFiles(options.vision_tower, {"preprocessor_config.json"}));
  }
  PREFIXD_RETURN_IF_ERROR(out.WriteJson("config.json", config));
  PREFIXD_RETURN_IF_ERROR(out.WriteWeights(tensors));
  return out.Commit();
}

}  // namespace prefixd::tools
