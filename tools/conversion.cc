#include "tools/conversion.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/models/model_loader.h"
#include "engine/weights/safetensors_writer.h"
#include "engine/weights/tensor_info.h"

namespace prefixd::tools {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxJsonBytes = size_t{64} << 20;

absl::Status FileError(const std::string& path, absl::string_view what,
                       const std::error_code& error) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what, ": ", error.message()));
}

}  // namespace

bool IsWeight(const TensorSource::Tensor& tensor) {
  const bool is_buffer = absl::EndsWith(tensor.name, "rotary_emb.inv_freq") ||
                         absl::EndsWith(tensor.name, "masked_bias") ||
                         absl::EndsWith(tensor.name, "position_ids") ||
                         absl::EndsWith(tensor.name, "attention.bias");
  if (!is_buffer)
    return !absl::StartsWith(tensor.dtype, "I") && tensor.dtype != "BOOL" && tensor.dtype != "U8";
  // A bias has one dimension.
  return absl::EndsWith(tensor.name, "attention.bias") && tensor.shape.size() == 1;
}

absl::StatusOr<OutputTensor> WholeTensor(const TensorSource& source,
                                         const TensorSource::Tensor& tensor, std::string name) {
  const std::optional<DType> dtype = ComputableDType(tensor.dtype);
  if (!dtype.has_value() || IsQuantized(*dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(tensor.file, ": tensor ", tensor.name,
                                                   ": dtype ", tensor.dtype,
                                                   ", expected F32, F16 or BF16"));
  }
  return OutputTensor{.name = std::move(name),
                      .dtype = *dtype,
                      .shape = tensor.shape,
                      .source = &source,
                      .tensor = &tensor};
}

absl::StatusOr<OutputDirectory> OutputDirectory::Create(const std::string& path) {
  OutputDirectory directory;
  fs::path clean = fs::path(path).lexically_normal();
  if (clean.filename().empty()) clean = clean.parent_path();
  directory.path_ = clean.string();
  std::error_code error;
  if (fs::symlink_status(directory.path_, error).type() != fs::file_type::not_found) {
    return absl::InvalidArgumentError(absl::StrCat(directory.path_, ": exists already"));
  }
  const std::string temporary = absl::StrCat(directory.path_, ".tmp.", ::getpid());
  if (!fs::create_directories(temporary, error) || error) {
    return FileError(temporary, "cannot make the directory", error);
  }
  directory.temporary_ = temporary;
  return directory;
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, "")) {}

OutputDirectory::~OutputDirectory() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

absl::Status OutputDirectory::CopyFiles(const std::string& directory,
                                        absl::Span<const char* const> names) const {
  for (const char* name : names) {
    const std::string from = absl::StrCat(directory, "/", name);
    if (!FileExists(from)) continue;
    std::error_code error;
    fs::copy_file(from, absl::StrCat(temporary_, "/", name), error);
    if (error) return FileError(from, "cannot copy", error);
  }
  return absl::OkStatus();
}

absl::Status OutputDirectory::WriteJson(const std::string& name,
                                        const nlohmann::ordered_json& value) const {
  const std::string text = value.dump(2) + "\n";
  return WriteFileAtomically(
      absl::StrCat(temporary_, "/", name),
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

absl::Status OutputDirectory::WriteWeights(const std::vector<OutputTensor>& tensors) const {
  std::vector<TensorToWrite> entries;
  std::set<std::string> names;
  for (const OutputTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(tensor.tensor->file, ": two tensors are to become ", tensor.name));
    }
    entries.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
  }
  absl::Status failed;
  PREFIXD_RETURN_IF_ERROR(WriteSafetensors(
      absl::StrCat(temporary_, "/model.safetensors"), entries,
      [&](size_t index, uint64_t first, absl::Span<uint8_t> out) {
        const OutputTensor& tensor = tensors[index];
        const absl::Status status =
            failed.ok() ? tensor.source->Read(*tensor.tensor, tensor.first + first, out) : failed;
        if (status.ok()) return;
        failed = status;
        std::fill(out.begin(), out.end(), uint8_t{0});
      }));
  return failed;
}

absl::Status OutputDirectory::Commit() {
  PREFIXD_RETURN_IF_ERROR(OpenModelFiles(temporary_).status());
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) return FileError(path_, "cannot move the directory here", error);
  temporary_.clear();
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::ordered_json> ReadOrderedJson(const std::string& path) {
  // Read strictly first; then once more, for the order.
  PREFIXD_RETURN_IF_ERROR(ReadJsonFile(path, kMaxJsonBytes).status());
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJsonBytes));
  nlohmann::ordered_json value = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not an object"));
  }
  return value;
}

}  // namespace prefixd::tools
