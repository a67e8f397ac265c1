// Directories with tokenizer files for tests.
#ifndef PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_
#define PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

// A directory that goes away with the object.
class TokenizerDirectory {
 public:
  TokenizerDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tokenizer_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TokenizerDirectory() { std::filesystem::remove_all(path_); }
  TokenizerDirectory(const TokenizerDirectory&) = delete;
  TokenizerDirectory& operator=(const TokenizerDirectory&) = delete;

  TokenizerDirectory& Write(const std::string& name, const std::string& text) {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return *this;
  }
  absl::StatusOr<std::unique_ptr<const Tokenizer>> Load() const { return Tokenizer::Load(path_); }

 private:
  std::string path_;
};

inline std::string ReadGolden(const std::string& name) {
  std::ifstream file(absl::StrCat(PREFIXD_SOURCE_DIR, "/tests/golden/tokenizer/", name),
                     std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A tokenizer of the goldens, "demo" for that of the demo model. Null if it does not load.
inline std::unique_ptr<const Tokenizer> LoadGolden(const std::string& name) {
  if (name == "demo") {
    auto loaded = Tokenizer::Load(absl::StrCat(PREFIXD_SOURCE_DIR, "/models/demo"));
    return loaded.ok() ? *std::move(loaded) : nullptr;
  }
  auto loaded = TokenizerDirectory().Write("tokenizer.json", ReadGolden(name + ".json")).Load();
  return loaded.ok() ? *std::move(loaded) : nullptr;
}

}  // namespace prefixd

#endif  // PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_
