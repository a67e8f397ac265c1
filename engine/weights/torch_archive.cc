#include "engine/weights/torch_archive.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/weights/pickle.h"
#include "engine/weights/zip_directory.h"

namespace prefixd {
namespace {

constexpr char kPickleName[] = "/data.pkl";
constexpr uint64_t kWindowBytes = 1 << 16;

using Storages = std::map<std::string, const ZipEntry*, std::less<>>;

absl::Status TensorError(const PickledTensor& tensor, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", absl::CHexEscape(tensor.name.substr(0, 80)), "\": ", problem));
}

// Elements of a shape, or nullopt if they are beyond counting.
std::optional<uint64_t> Count(absl::Span<const int64_t> shape) {
  std::optional<uint64_t> count = 1;
  for (const int64_t dimension : shape) {
    count = CheckedMul(*count, static_cast<uint64_t>(dimension));
    if (!count.has_value()) return std::nullopt;
  }
  return count;
}

// The element behind the last one that the tensor touches.
std::optional<uint64_t> End(const PickledTensor& tensor) {
  std::optional<uint64_t> last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const auto steps = CheckedMul(static_cast<uint64_t>(tensor.shape[i] - 1), tensor.strides[i]);
    if (!steps.has_value()) return std::nullopt;
    last = CheckedAdd(*last, *steps);
    if (!last.has_value()) return std::nullopt;
  }
  return CheckedAdd(*last, 1);
}

bool IsContiguous(const PickledTensor& tensor) {
  uint64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= static_cast<uint64_t>(tensor.shape[i]);
  }
  return true;
}

absl::StatusOr<TorchTensor> Place(const PickledTensor& tensor, const Storages& storages) {
  const uint64_t size = PickledElementBytes(tensor.dtype);
  const auto it = storages.find(tensor.storage);
  if (it == storages.end()) {
    return TensorError(tensor,
                       absl::StrCat("its storage ", absl::CHexEscape(tensor.storage.substr(0, 40)),
                                    " is not in the archive"));
  }
  const ZipEntry& storage = *it->second;
  if (CheckedMul(tensor.storage_elements, size) != storage.size_bytes) {
    return TensorError(tensor,
                       absl::StrCat("its storage has ", storage.size_bytes, " bytes, but ",
                                    tensor.storage_elements, " elements of ", tensor.dtype));
  }
  const std::optional<uint64_t> count = Count(tensor.shape);
  if (!count.has_value() || *count > tensor.storage_elements) {
    return TensorError(
        tensor, absl::StrCat("shape ", ShapeString(tensor.shape),
                             " has more elements than its storage, ", tensor.storage_elements));
  }
  TorchTensor placed{.info = {.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape},
                     .strides = tensor.strides};
  placed.info.size_bytes = *count * size;
  placed.info.begin = storage.begin;
  if (*count == 0) return placed;
  const std::optional<uint64_t> end = End(tensor);
  if (!end.has_value() || *end > tensor.storage_elements) {
    return TensorError(tensor, absl::StrCat("shape ", ShapeString(tensor.shape), " at element ",
                                            tensor.offset, " reaches out of its storage of ",
                                            tensor.storage_elements, " elements"));
  }
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] > 1 && tensor.strides[i] == 0) {
      return absl::UnimplementedError(absl::StrCat("tensor \"",
                                                   absl::CHexEscape(tensor.name.substr(0, 80)),
                                                   "\" repeats elements (stride 0)"));
    }
  }
  placed.info.begin += tensor.offset * size;
  placed.is_contiguous = IsContiguous(tensor);
  return placed;
}

absl::Status NamingFile(const absl::Status& status, const std::string& path) {
  if (status.ok() || absl::StrContains(status.message(), path)) return status;
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<TorchArchive> TorchArchive::Open(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(File file, File::Open(path));
  TorchArchive archive(std::move(file));
  PREFIXD_RETURN_IF_ERROR(NamingFile(archive.ReadTensors(), path));
  return archive;
}

absl::Status TorchArchive::ReadTensors() {
  PREFIXD_ASSIGN_OR_RETURN(const bool is_zip, IsZipFile(file_));
  if (!is_zip) {
    return absl::UnimplementedError(
        "not a zip file: the form of torch.save before PyTorch 1.6 is not supported; save it again "
        "with a newer one");
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, ReadZipDirectory(file_));
  const ZipEntry* pickle = nullptr;
  for (const ZipEntry& entry : entries) {
    const bool is_pickle = absl::EndsWith(entry.name, kPickleName) &&
                           entry.name.find('/') == entry.name.size() - sizeof(kPickleName) + 1;
    if (!is_pickle) continue;
    if (pickle != nullptr) return absl::InvalidArgumentError("two entries data.pkl");
    pickle = &entry;
  }
  if (pickle == nullptr) return absl::InvalidArgumentError("no entry data.pkl");
  const std::string root = pickle->name.substr(0, pickle->name.find('/') + 1);
  const std::string data = root + "data/";
  Storages storages;
  for (const ZipEntry& entry : entries) {
    if (entry.name == root + "byteorder") {
      std::string order(std::min<uint64_t>(entry.size_bytes, 16), '\0');
      PREFIXD_RETURN_IF_ERROR(file_.ReadAt(
          entry.begin, absl::MakeSpan(reinterpret_cast<uint8_t*>(order.data()), order.size())));
      if (order != "little") return absl::UnimplementedError("its byte order is not little");
    }
    if (!absl::StartsWith(entry.name, data)) continue;
    if (!storages.emplace(entry.name.substr(data.size()), &entry).second) {
      return absl::InvalidArgumentError("two storages of one name");
    }
  }
  if (pickle->size_bytes > kMaxPickleBytes) {
    return absl::InvalidArgumentError(absl::StrCat("data.pkl has ", pickle->size_bytes,
                                                   " bytes, the limit is ", kMaxPickleBytes));
  }
  std::string bytes(pickle->size_bytes, '\0');
  PREFIXD_RETURN_IF_ERROR(file_.ReadAt(
      pickle->begin, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<PickledTensor> tensors, ReadPickledTensors(bytes));
  for (const PickledTensor& tensor : tensors) {
    PREFIXD_ASSIGN_OR_RETURN(TorchTensor placed, Place(tensor, storages));
    if (!tensors_.emplace(tensor.name, std::move(placed)).second) {
      return TensorError(tensor, "is there twice");
    }
  }
  return absl::OkStatus();
}

absl::Status TorchArchive::Read(const TorchTensor& tensor, uint64_t first,
                                absl::Span<uint8_t> out) const {
  const uint64_t size = PickledElementBytes(tensor.info.dtype);
  PREFIXD_CHECK(out.size() % size == 0 && first <= tensor.info.size_bytes / size &&
                out.size() <= tensor.info.size_bytes - first * size);
  if (tensor.is_contiguous) return file_.ReadAt(tensor.info.begin + first * size, out);
  return ReadScattered(tensor, first, out);
}

absl::Status TorchArchive::ReadScattered(const TorchTensor& tensor, uint64_t first,
                                         absl::Span<uint8_t> out) const {
  const uint64_t size = PickledElementBytes(tensor.info.dtype);
  std::vector<uint8_t> window;
  uint64_t window_begin = 0;  // In the file.
  for (uint64_t i = 0; i < out.size() / size; ++i) {
    uint64_t at = tensor.info.begin, rest = first + i;
    for (size_t d = tensor.info.shape.size(); d-- > 0;) {
      const uint64_t dimension = static_cast<uint64_t>(tensor.info.shape[d]);
      at += rest % dimension * tensor.strides[d] * size;
      rest /= dimension;
    }
    if (at < window_begin || at + size > window_begin + window.size()) {
      window.resize(std::min(kWindowBytes, file_.size_bytes() - at));
      window_begin = at;
      PREFIXD_RETURN_IF_ERROR(file_.ReadAt(at, absl::MakeSpan(window)));
    }
    std::memcpy(out.data() + i * size, window.data() + (at - window_begin), size);
  }
  return absl::OkStatus();
}

}  // namespace prefixd
