// Reads a JSON configuration file field by field. A missing key and null leave the default; an
// integral float is an integer; anything else of the wrong type or outside its range is an error
// that names file, key and value. The first error sticks, so that a mapping reads as a plain list;
// the caller asks for it once, at the end. Not thread-safe.
#ifndef PREFIXD_ENGINE_MODELS_CONFIG_READER_H_
#define PREFIXD_ENGINE_MODELS_CONFIG_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// One object of a file. Cheap to copy; copies and nested readers share the file and its error.
class ConfigReader {
 public:
  // Errors: what ReadJsonFile says; INVALID_ARGUMENT if the file is not an object.
  static absl::StatusOr<ConfigReader> Open(const std::string& path);
  // As Open, of a text that messages call `name`.
  static absl::StatusOr<ConfigReader> Parse(absl::string_view text, const std::string& name);

  // True if the key is present and not null.
  bool Has(const char* key) const;

  void Int(const char* key, int64_t min, int64_t max, int* value) const;
  void Int64(const char* key, int64_t min, int64_t max, int64_t* value) const;
  void Double(const char* key, double min, double max, double* value) const;
  void Float(const char* key, double min, double max, float* value) const;
  void Bool(const char* key, bool* value) const;
  void String(const char* key, std::string* value) const;
  // An integer or a list of at most `max_count` integers.
  void IntOrList(const char* key, int64_t min, int64_t max, size_t max_count,
                 std::vector<int32_t>* value) const;
  // The first element of a list of strings.
  void FirstString(const char* key, std::string* value) const;
  // An object; a reader of an empty one if the key is missing.
  ConfigReader Object(const char* key) const;

  // Record an error of this object's `key`; earlier errors win.
  void Invalid(const char* key, absl::string_view problem) const;
  void Unsupported(const char* key, absl::string_view problem) const;
  // Refuses a feature that changes results if the key is present.
  void RefuseIfPresent(const char* key) const;

  const absl::Status& status() const;

 private:
  struct File;

  ConfigReader(std::shared_ptr<File> file, const nlohmann::json* object, std::string prefix);

  const nlohmann::json* Find(const char* key) const;
  std::string NameOf(const char* key) const;
  void Fail(absl::StatusCode code, const char* key, absl::string_view problem) const;

  std::shared_ptr<File> file_;  // Shared by every reader of the file.
  const nlohmann::json* object_;
  std::string prefix_;  // "text_config.".
};

// A value of a file for a message: in quotes, escaped, its first 60 bytes.
std::string Quoted(absl::string_view value);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_CONFIG_READER_H_
