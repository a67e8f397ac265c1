// GGUF files that the tests of weights write, field by field, right or wrong.
#ifndef PREFIXD_TESTS_WEIGHTS_GGUF_FILES_H_
#define PREFIXD_TESTS_WEIGHTS_GGUF_FILES_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace prefixd::testing {

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string GgufString(const std::string& text) { return Raw<uint64_t>(text.size()) + text; }

// A pair: key, type, the value's bytes.
inline std::string GgufPair(const std::string& key, uint32_t type, const std::string& value) {
  return GgufString(key) + Raw<uint32_t>(type) + value;
}

struct GgufTensorEntry {
  std::string name = "a";
  std::vector<uint64_t> ne = {32};
  uint32_t type = 0;  // F32.
  uint64_t offset = 0;

  std::string Bytes() const {
    std::string bytes = GgufString(name) + Raw<uint32_t>(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) bytes += Raw<uint64_t>(n);
    return bytes + Raw<uint32_t>(type) + Raw<uint64_t>(offset);
  }
};

struct GgufFileSpec {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> pairs;
  std::vector<GgufTensorEntry> tensors;
  uint64_t data_bytes = 128;                    // Behind the padding.
  uint64_t extra_tensors = 0, extra_pairs = 0;  // Announced, but not there.
  uint64_t alignment = 32;

  std::string Bytes() const {
    std::string bytes = magic + Raw<uint32_t>(version) +
                        Raw<uint64_t>(tensors.size() + extra_tensors) +
                        Raw<uint64_t>(pairs.size() + extra_pairs);
    for (const std::string& pair : pairs) bytes += pair;
    for (const GgufTensorEntry& tensor : tensors) bytes += tensor.Bytes();
    while (bytes.size() % alignment != 0) bytes.push_back('\0');
    return bytes + std::string(data_bytes, '\x01');
  }
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_WEIGHTS_GGUF_FILES_H_
