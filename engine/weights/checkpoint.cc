#include "engine/weights/checkpoint.h"

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/weights/safetensors.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = size_t{32} << 20;
constexpr size_t kMaxShards = 4096;

bool IsPlainFileName(absl::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == absl::string_view::npos && name.find('\0') == absl::string_view::npos;
}

// Returns the name of a pickle file in the directory, or an empty string. Only names are looked at.
std::string FindPickle(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
      return it->path().filename().string();
    }
  }
  return "";
}

absl::Status NoWeights(const std::string& directory) {
  const std::string pickle = FindPickle(directory);
  if (!pickle.empty()) {
    return absl::UnimplementedError(
        absl::StrCat(directory, "/", absl::CHexEscape(pickle),
                     ": pickle weights are unsupported, convert them to safetensors"));
  }
  return absl::NotFoundError(
      absl::StrCat(directory, ": neither ", kSingleFile, " nor ", kIndexFile));
}

bool Exists(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found;
}

// Returns the map from tensor to shard of an index file.
absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const std::string& index_path) {
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json index, ReadJsonFile(index_path, kMaxIndexBytes));
  const auto index_error = [&index_path](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", problem));
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return index_error("weight_map is missing or not an object");
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& item : index["weight_map"].items()) {
    if (!item.value().is_string()) return index_error("weight_map holds a value that is no string");
    const std::string shard = item.value().get<std::string>();
    if (!IsPlainFileName(shard)) {
      return index_error(absl::StrCat("shard \"", absl::CHexEscape(shard.substr(0, 80)),
                                      "\" is not a plain file name"));
    }
    shard_of.emplace(item.key(), shard);
  }
  if (shard_of.empty()) return index_error("weight_map is empty");
  return shard_of;
}

}  // namespace

absl::StatusOr<std::string> ResolveInDirectory(const std::string& directory,
                                               const std::string& name) {
  const std::string path = absl::StrCat(directory, "/", name);
  if (!IsPlainFileName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": \"", absl::CHexEscape(name), "\" is not a plain file name"));
  }
  if (!Exists(path)) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  std::error_code error;
  const fs::path root = fs::canonical(directory, error);
  if (error) return absl::NotFoundError(absl::StrCat(directory, ": ", error.message()));
  const fs::path target = fs::canonical(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  const fs::path relative = target.lexically_relative(root);
  if (relative.empty() || *relative.begin() == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a symbolic link that leaves the model directory"));
  }
  return path;
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& directory) {
  Checkpoint checkpoint;
  checkpoint.path_ = directory;
  if (Exists(absl::StrCat(directory, "/", kSingleFile))) {
    PREFIXD_RETURN_IF_ERROR(checkpoint.AddFile(kSingleFile));
    return checkpoint;
  }
  if (!Exists(absl::StrCat(directory, "/", kIndexFile))) return NoWeights(directory);
  PREFIXD_ASSIGN_OR_RETURN(const std::string index_path, ResolveInDirectory(directory, kIndexFile));
  PREFIXD_RETURN_IF_ERROR(checkpoint.AddShards(index_path));
  return checkpoint;
}

Checkpoint Checkpoint::OfFile(File file, std::vector<TensorInfo> tensors) {
  Checkpoint checkpoint;
  checkpoint.path_ = file.path();
  checkpoint.files_.push_back(std::move(file));
  for (TensorInfo& tensor : tensors) {
    std::string name = tensor.name;
    PREFIXD_CHECK(checkpoint.tensors_.emplace(std::move(name), std::move(tensor)).second);
  }
  return checkpoint;
}

absl::Status Checkpoint::AddFile(const std::string& name) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string path, ResolveInDirectory(path_, name));
  PREFIXD_ASSIGN_OR_RETURN(File file, File::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(std::vector<TensorInfo> tensors, ReadSafetensorsHeader(file));
  for (TensorInfo& tensor : tensors) {
    tensor.file = static_cast<int>(files_.size());
    const std::string key = tensor.name;
    const auto [it, inserted] = tensors_.emplace(key, std::move(tensor));
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", absl::CHexEscape(key),
                                                     "\" is also in ", file_path(it->second)));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::AddShards(const std::string& index_path) {
  PREFIXD_ASSIGN_OR_RETURN(const auto shard_of, ReadWeightMap(index_path));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  if (shards.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(index_path, ": ", shards.size(), " shards, the limit is ", kMaxShards));
  }
  for (const std::string& shard : shards) PREFIXD_RETURN_IF_ERROR(AddFile(shard));
  for (const auto& [name, shard] : shard_of) {
    const auto it = tensors_.find(name);
    const std::string expected = absl::StrCat(path_, "/", shard);
    if (it == tensors_.end() || file_path(it->second) != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(expected, ": tensor \"", absl::CHexEscape(name.substr(0, 80)),
                       "\" is missing, the index says that it is here"));
    }
  }
  std::erase_if(tensors_, [&](const auto& item) {
    if (shard_of.contains(item.first)) return false;
    PREFIXD_LOG(kWarn, "weights ignored=", absl::CHexEscape(item.first),
                " reason=not_in_index file=", file_path(item.second));
    return true;
  });
  return absl::OkStatus();
}

absl::Status Checkpoint::Read(const TensorInfo& tensor, uint64_t offset,
                              absl::Span<uint8_t> out) const {
  PREFIXD_CHECK(offset <= tensor.size_bytes && out.size() <= tensor.size_bytes - offset);
  return files_[tensor.file].ReadAt(tensor.begin + offset, out);
}

absl::Status Checkpoint::CheckUnchanged() const {
  for (const File& file : files_) PREFIXD_RETURN_IF_ERROR(file.CheckUnchanged());
  return absl::OkStatus();
}

}  // namespace prefixd
