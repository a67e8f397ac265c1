// A folder that goes away with the test.
#ifndef PREFIXD_TESTS_TOOLS_FOLDER_H_
#define PREFIXD_TESTS_TOOLS_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace prefixd::testing {

class Folder {
 public:
  Folder() { path_ = mkdtemp(name_); }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  std::string At(const std::string& name) const { return path_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(At(name), std::ios::binary) << text;
    return At(name);
  }
  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(At(name), std::ios::binary).rdbuf();
    return text.str();
  }

 private:
  char name_[32] = "/tmp/prefixd_tools_XXXXXX";
  std::string path_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_TOOLS_FOLDER_H_
