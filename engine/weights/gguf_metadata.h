// The typed key-value pairs at the start of a GGUF file, as views into its own bytes: nothing is
// unpacked before it is asked for. Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_WEIGHTS_GGUF_METADATA_H_
#define PREFIXD_ENGINE_WEIGHTS_GGUF_METADATA_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// The numbers are those of the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Bytes of a value of a plain type; 0 for strings and arrays. Requires: a known type.
uint64_t GgufTypeSize(GgufType type);
// "u32", "array".
absl::string_view GgufTypeName(GgufType type);

// Where a value lies. Every range was checked when the file was read.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // Of an array; never kArray.
  uint64_t count = 1;                // Elements of an array, bytes of a string.
  uint64_t begin = 0;                // Offset of the number, the string's text, the first element.
};

class GgufMetadata {
 public:
  GgufMetadata() = default;
  // `values` lie in `bytes`. Errors name `path`.
  GgufMetadata(std::string path, std::string bytes, std::map<std::string, GgufValue> values);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufValue>& values() const { return values_; }
  bool Has(absl::string_view key) const { return values_.contains(std::string(key)); }

  // Each of these leaves `out` as it is where the key is absent. Errors: INVALID_ARGUMENT for a
  // value of another kind or outside the kind's range, naming file and key.
  absl::Status Int(absl::string_view key, int64_t* out) const;   // Any integer type.
  absl::Status Float(absl::string_view key, double* out) const;  // f32 or f64, finite.
  absl::Status Bool(absl::string_view key, bool* out) const;
  absl::Status String(absl::string_view key, std::string* out) const;
  absl::Status Ints(absl::string_view key, std::vector<int32_t>* out) const;  // Any integer type.
  absl::Status Floats(absl::string_view key, std::vector<float>* out) const;  // f32.
  absl::Status Strings(absl::string_view key, std::vector<std::string>* out) const;

  // INVALID_ARGUMENT about `key`.
  absl::Status Error(absl::string_view key, absl::string_view problem) const;

 private:
  const GgufValue* Find(absl::string_view key) const;
  absl::Status WrongType(absl::string_view key, absl::string_view expected) const;
  absl::Status ReadInt(absl::string_view key, GgufType type, uint64_t begin, int64_t* out) const;
  uint64_t Bits(uint64_t begin, uint64_t size) const;

  std::string path_;
  std::string bytes_;
  std::map<std::string, GgufValue> values_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_GGUF_METADATA_H_
