// Files that the tests of weights write.
#ifndef PREFIXD_TESTS_WEIGHTS_FILES_H_
#define PREFIXD_TESTS_WEIGHTS_FILES_H_

#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/check.h"

namespace prefixd::testing {

// A fresh directory that is removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    path_ = (std::filesystem::temp_directory_path() / "prefixd_XXXXXX").string();
    PREFIXD_CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream file(File(name), std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    PREFIXD_CHECK(file.good());
  }

 private:
  std::string path_;
};

// Eight little-endian bytes.
inline std::string LittleEndian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// A safetensors file: the length of `header`, `header`, then `data_bytes` bytes 0, 1, 2, ...
inline std::string Safetensors(const std::string& header, size_t data_bytes) {
  std::string bytes = LittleEndian(header.size()) + header;
  for (size_t i = 0; i < data_bytes; ++i) bytes.push_back(static_cast<char>(i));
  return bytes;
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_WEIGHTS_FILES_H_
