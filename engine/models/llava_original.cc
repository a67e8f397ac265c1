#include "engine/models/llava_original.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace prefixd {

std::string OriginalLlavaName(absl::string_view name) {
  if (absl::ConsumePrefix(&name, "model.vision_tower.vision_tower.")) {
    absl::ConsumePrefix(&name, "vision_model.");
    return absl::StrCat("vision.", name);
  }
  if (!absl::ConsumePrefix(&name, "model.")) return std::string(name);
  return absl::StartsWith(name, "mm_projector.") ? std::string(name) : absl::StrCat("text.", name);
}

absl::Status CheckHasTower(const LlavaConfig& config, const std::string& directory,
                           const Checkpoint& checkpoint) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (absl::StartsWith(name, "model.vision_tower.")) return absl::OkStatus();
  }
  return absl::UnimplementedError(
      absl::StrCat(directory, ": the weights lack the vision tower (mm_vision_tower \"",
                   absl::CHexEscape(config.tower_name.substr(0, 80)),
                   "\"); put it in with: prefixctl convert llava --model ", directory,
                   " --vision-tower DIR --out DIR"));
}

std::string OriginalChatTemplate(const std::string& directory) {
  std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  const std::string name = absl::AsciiStrToLower(path.filename().string());
  if (absl::StrContains(name, "llama-2")) return "llava_llama_2";
  if (absl::StrContains(name, "v1")) return "llava_v1";
  return absl::StrContains(name, "mpt") ? "mpt" : "llava_v0";
}

}  // namespace prefixd
