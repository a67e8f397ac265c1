#include "engine/weights/safetensors_writer.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/weights/tensor_info.h"

namespace prefixd {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;  // A multiple of every element size.

uint64_t SizeBytes(const TensorToWrite& tensor) {
  return NumElements(tensor.shape) * DTypeSize(tensor.dtype);
}

std::vector<size_t> WriteOrder(absl::Span<const TensorToWrite> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&tensors](size_t a, size_t b) {
    const size_t size_a = DTypeSize(tensors[a].dtype), size_b = DTypeSize(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : tensors[a].name < tensors[b].name;
  });
  return order;
}

std::string Header(absl::Span<const TensorToWrite> tensors, absl::Span<const size_t> order) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (const size_t index : order) {
    const TensorToWrite& tensor = tensors[index];
    const uint64_t end = offset + SizeBytes(tensor);
    const absl::string_view dtype = StoredDTypeName(tensor.dtype);
    header[tensor.name] = {{"dtype", std::string(dtype.data(), dtype.size())},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Writes header and tensors to `file`. Returns false when a write fails (errno says why).
bool WriteAll(absl::Span<const TensorToWrite> tensors, const FillTensor& fill, std::FILE* file) {
  const std::vector<size_t> order = WriteOrder(tensors);
  const std::string header = Header(tensors, order);
  uint8_t prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = static_cast<uint8_t>(uint64_t{header.size()} >> (8 * i));
  if (std::fwrite(prefix, 1, 8, file) != 8) return false;
  if (std::fwrite(header.data(), 1, header.size(), file) != header.size()) return false;
  std::vector<uint8_t> chunk;
  for (const size_t index : order) {
    const uint64_t size = SizeBytes(tensors[index]);
    for (uint64_t done = 0; done < size; done += chunk.size()) {
      chunk.resize(std::min(kChunkBytes, size - done));
      fill(index, done / DTypeSize(tensors[index].dtype), absl::MakeSpan(chunk));
      if (std::fwrite(chunk.data(), 1, chunk.size(), file) != chunk.size()) return false;
    }
  }
  return std::fflush(file) == 0 && ::fsync(::fileno(file)) == 0;
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors,
                              const FillTensor& fill) {
  const std::string temporary = absl::StrCat(path, ".tmp.", ::getpid());
  const auto error = [&temporary](absl::string_view what) {
    const std::string reason = std::strerror(errno);
    ::unlink(temporary.c_str());
    return absl::InvalidArgumentError(absl::StrCat(temporary, ": ", what, ": ", reason));
  };
  std::unique_ptr<std::FILE, FileCloser> file(std::fopen(temporary.c_str(), "wb"));
  if (file == nullptr) return error("cannot create");
  if (!WriteAll(tensors, fill, file.get())) return error("cannot write");
  if (std::fclose(file.release()) != 0) return error("cannot write");
  if (::rename(temporary.c_str(), path.c_str()) != 0) return error("cannot rename");
  return absl::OkStatus();
}

}  // namespace prefixd
