// The header of a GGUF file (version 2 or 3, little-endian), read strictly: every count, length and
// offset is proven against the size of the file before anything is reserved for it, and the tensors
// lie one behind the other as the reference reader wants them. No tensor byte is read.
// Pure functions; safe from any thread.
//
//   "GGUF", u32 version, u64 tensors, u64 pairs
//   pairs:    string key, u32 type, value          string: u64 length, bytes
//   tensors:  string name, u32 n, u64 ne[n], u32 type, u64 offset
//   padding, then the tensors' bytes, each at a multiple of general.alignment
//
// ne[0] is the contiguous dimension: a linear map [out, in] has ne = {in, out}.
#ifndef PREFIXD_ENGINE_WEIGHTS_GGUF_H_
#define PREFIXD_ENGINE_WEIGHTS_GGUF_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/gguf_metadata.h"
#include "engine/weights/tensor_info.h"

namespace prefixd {

inline constexpr uint64_t kMaxGgufHeaderBytes = uint64_t{64} << 20;
inline constexpr uint64_t kMaxGgufStringBytes = uint64_t{16} << 20;
inline constexpr uint64_t kMaxGgufArrayElements = uint64_t{16} << 20;
inline constexpr uint64_t kMaxGgufPairs = 10'000;
inline constexpr uint64_t kMaxGgufTensors = 16'384;

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;  // In file order; `begin` counts from the start of the file.
  uint64_t size_bytes = 0;          // Up to the end of the last tensor's entry.
};

// Parses the first `bytes` of a file of `file_bytes` bytes. Messages begin with `path`.
// Errors: INVALID_ARGUMENT that names key or tensor and both values; UNIMPLEMENTED for an element
// type whose size is not known, by its name; OUT_OF_RANGE if the header goes on beyond `bytes` but
// not beyond the file.
absl::StatusOr<GgufHeader> ParseGgufHeader(std::string bytes, uint64_t file_bytes,
                                           const std::string& path);

// Reads the header of `file`.
absl::StatusOr<GgufHeader> ReadGgufHeader(const File& file);

// Returns the GGUF file that `model_path` means: the path itself if it is no directory, or the only
// *.gguf of a directory without config.json; nullopt for any other directory. Errors:
// INVALID_ARGUMENT for several such files, naming two, and for a link that leaves the directory.
absl::StatusOr<std::optional<std::string>> FindGgufFile(const std::string& model_path);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_GGUF_H_
