// Class sets for tests: whatever a file may hold, made from a seed.
#ifndef PREFIXD_TESTS_CLASSIFY_STORE_RANDOM_SETS_H_
#define PREFIXD_TESTS_CLASSIFY_STORE_RANDOM_SETS_H_

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "engine/classify/class_set_store.h"

namespace prefixd::testing {

// A valid set, the same for the same arguments. Texts are UTF-8 of all lengths; pictures are random
// bytes, up to `max_image_bytes` each.
StoredClassSet RandomSet(absl::string_view tenant, absl::string_view id, uint64_t seed,
                         size_t max_image_bytes = 2000);

// Two names and nothing else.
StoredClassSet SmallSet(absl::string_view tenant, absl::string_view id);

// Field by field, bit by bit.
bool Equal(const StoredClassSet& a, const StoredClassSet& b);

// A fresh directory that is removed with the object.
class StateDirectory {
 public:
  StateDirectory() {
    path_ = (std::filesystem::temp_directory_path() / "prefixd_sets_XXXXXX").string();
    PREFIXD_CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~StateDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/class_sets/" + name; }
  ClassificationOptions options() const {
    ClassificationOptions options;
    options.state_dir = path_;
    return options;
  }

 private:
  std::string path_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CLASSIFY_STORE_RANDOM_SETS_H_
