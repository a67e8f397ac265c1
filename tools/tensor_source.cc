#include "tools/tensor_source.h"

#include <filesystem>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/weights/pickle.h"
#include "engine/weights/safetensors.h"

namespace prefixd::tools {
namespace {

constexpr char kTorchFile[] = "pytorch_model.bin";
constexpr char kTorchIndex[] = "pytorch_model.bin.index.json";
constexpr size_t kMaxIndexBytes = size_t{32} << 20;
constexpr size_t kMaxShards = 4096;

}  // namespace

absl::StatusOr<TensorSource> TensorSource::Open(const std::string& path) {
  TensorSource source;
  source.path_ = path;
  if (!std::filesystem::is_directory(path)) {
    if (!absl::EndsWith(path, ".safetensors")) {
      PREFIXD_RETURN_IF_ERROR(source.AddArchive(path));
      source.Unwrap();
      return source;
    }
    PREFIXD_ASSIGN_OR_RETURN(File file, File::Open(path));
    PREFIXD_ASSIGN_OR_RETURN(std::vector<TensorInfo> tensors, ReadSafetensorsHeader(file));
    PREFIXD_RETURN_IF_ERROR(
        source.AddCheckpoint(Checkpoint::OfFile(std::move(file), std::move(tensors))));
    return source;
  }
  const std::string index = absl::StrCat(path, "/", kTorchIndex);
  const std::string single = absl::StrCat(path, "/", kTorchFile);
  const bool has_safetensors = FileExists(absl::StrCat(path, "/model.safetensors")) ||
                               FileExists(absl::StrCat(path, "/model.safetensors.index.json"));
  if (has_safetensors || (!FileExists(index) && !FileExists(single))) {
    PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(path));
    PREFIXD_RETURN_IF_ERROR(source.AddCheckpoint(std::move(checkpoint)));
    return source;
  }
  if (FileExists(index)) {
    PREFIXD_RETURN_IF_ERROR(source.OpenShards(index));
  } else {
    PREFIXD_RETURN_IF_ERROR(source.AddArchive(single));
  }
  source.Unwrap();
  return source;
}

absl::Status TensorSource::OpenShards(const std::string& index_path) {
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json index, ReadJsonFile(index_path, kMaxIndexBytes));
  const auto error = [&](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", problem));
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return error("weight_map is missing or not an object");
  }
  std::set<std::string> shards;
  for (const auto& item : index["weight_map"].items()) {
    if (!item.value().is_string()) return error("weight_map holds a value that is no string");
    shards.insert(item.value().get<std::string>());
  }
  if (shards.size() > kMaxShards) return error(absl::StrCat(shards.size(), " shards"));
  for (const std::string& shard : shards) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string path, ResolveInDirectory(path_, shard));
    PREFIXD_RETURN_IF_ERROR(AddArchive(path));
  }
  for (const auto& item : index["weight_map"].items()) {
    const std::string expected = absl::StrCat(path_, "/", item.value().get<std::string>());
    const Tensor* const tensor = Find(item.key());
    if (tensor == nullptr || tensor->file != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(expected, ": tensor ", item.key().substr(0, 80),
                       " is missing, the index says that it is here"));
    }
  }
  return absl::OkStatus();
}

absl::Status TensorSource::AddCheckpoint(Checkpoint checkpoint) {
  checkpoint_ = std::move(checkpoint);
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    tensors_[name] = {.name = name,
                      .dtype = tensor.dtype,
                      .shape = tensor.shape,
                      .size_bytes = tensor.size_bytes,
                      .file = checkpoint_->file_path(tensor),
                      .stored_name = name};
  }
  return absl::OkStatus();
}

absl::Status TensorSource::AddArchive(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(TorchArchive archive, TorchArchive::Open(path));
  for (const auto& [name, tensor] : archive.tensors()) {
    Tensor added{.name = name,
                 .dtype = tensor.info.dtype,
                 .shape = tensor.info.shape,
                 .size_bytes = tensor.info.size_bytes,
                 .file = path,
                 .stored_name = name,
                 .archive = archives_.size()};
    const auto [it, inserted] = tensors_.emplace(name, std::move(added));
    if (!inserted) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", name, " is also in ", it->second.file));
    }
  }
  archives_.push_back(std::move(archive));
  return absl::OkStatus();
}

void TensorSource::Unwrap() {
  for (const absl::string_view prefix : {"model_state_dict.", "state_dict.", "module."}) {
    std::map<std::string, Tensor> inside;
    for (const auto& [name, tensor] : tensors_) {
      if (!absl::StartsWith(name, prefix)) continue;
      Tensor& unwrapped = inside[name.substr(prefix.size())] = tensor;
      unwrapped.name = name.substr(prefix.size());
    }
    if (inside.empty() || (prefix == "module." && inside.size() < tensors_.size())) continue;
    tensors_ = std::move(inside);
  }
}

const TensorSource::Tensor* TensorSource::Find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

absl::Status TensorSource::Read(const Tensor& tensor, uint64_t first,
                                absl::Span<uint8_t> out) const {
  const uint64_t size = PickledElementBytes(tensor.dtype);
  PREFIXD_CHECK(size > 0);
  if (checkpoint_.has_value()) {
    return checkpoint_->Read(checkpoint_->tensors().at(tensor.stored_name), first * size, out);
  }
  const TorchArchive& archive = archives_[tensor.archive];
  return archive.Read(archive.tensors().at(tensor.stored_name), first, out);
}

}  // namespace prefixd::tools
