#include "engine/models/config_reader.h"

#include <cmath>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = 1 << 20;

// The value for an error message: short and printable.
std::string Show(const json& value) {
  const std::string text = value.dump(-1, ' ', true);  // In ASCII.
  return absl::StrCat(text.substr(0, 60), text.size() > 60 ? "..." : "");
}

std::optional<int64_t> AsInteger(const json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > uint64_t{INT64_MAX}) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) < 0x1p53 && number == std::trunc(number)) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

}  // namespace

struct ConfigReader::File {
  std::string name;
  json root;
  absl::Status status;
};

ConfigReader::ConfigReader(std::shared_ptr<File> file, const json* object, std::string prefix)
    : file_(std::move(file)), object_(object), prefix_(std::move(prefix)) {}

absl::StatusOr<ConfigReader> ConfigReader::Open(const std::string& path) {
  auto file = std::make_shared<File>();
  file->name = path;
  PREFIXD_ASSIGN_OR_RETURN(file->root, ReadJsonFile(path, kMaxConfigBytes));
  if (!file->root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  }
  const json* const root = &file->root;
  return ConfigReader(std::move(file), root, "");
}

absl::StatusOr<ConfigReader> ConfigReader::Parse(absl::string_view text, const std::string& name) {
  auto file = std::make_shared<File>();
  file->name = name;
  PREFIXD_ASSIGN_OR_RETURN(file->root, ParseJson(text));
  if (!file->root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not a JSON object"));
  }
  const json* const root = &file->root;
  return ConfigReader(std::move(file), root, "");
}

const json* ConfigReader::Find(const char* key) const {
  const auto it = object_->find(key);
  if (it == object_->end() || it->is_null()) return nullptr;
  return &*it;
}

bool ConfigReader::Has(const char* key) const { return Find(key) != nullptr; }

void ConfigReader::Int64(const char* key, int64_t min, int64_t max, int64_t* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  const std::optional<int64_t> number = AsInteger(*found);
  if (!number.has_value()) {
    return Invalid(key, absl::StrCat(Show(*found), " is not an integer"));
  }
  if (*number < min || *number > max) {
    return Invalid(key, absl::StrCat(*number, " is not in [", min, ", ", max, "]"));
  }
  *value = *number;
}

void ConfigReader::Int(const char* key, int64_t min, int64_t max, int* value) const {
  int64_t wide = *value;
  Int64(key, min, max, &wide);
  *value = static_cast<int>(wide);
}

void ConfigReader::Double(const char* key, double min, double max, double* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  if (!found->is_number()) return Invalid(key, absl::StrCat(Show(*found), " is not a number"));
  const double number = found->get<double>();
  if (!(number >= min && number <= max)) {
    return Invalid(key, absl::StrCat(number, " is not in [", min, ", ", max, "]"));
  }
  *value = number;
}

void ConfigReader::Float(const char* key, double min, double max, float* value) const {
  double wide = *value;
  Double(key, min, max, &wide);
  *value = static_cast<float>(wide);
}

void ConfigReader::Bool(const char* key, bool* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  if (!found->is_boolean()) return Invalid(key, absl::StrCat(Show(*found), " is not a boolean"));
  *value = found->get<bool>();
}

void ConfigReader::String(const char* key, std::string* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  if (!found->is_string()) return Invalid(key, absl::StrCat(Show(*found), " is not a string"));
  *value = found->get<std::string>();
}

void ConfigReader::FirstString(const char* key, std::string* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  if (!found->is_array() || found->empty() || !found->front().is_string()) {
    return Invalid(key, absl::StrCat(Show(*found), " is not a list of strings"));
  }
  *value = found->front().get<std::string>();
}

void ConfigReader::IntOrList(const char* key, int64_t min, int64_t max, size_t max_count,
                             std::vector<int32_t>* value) const {
  const json* const found = Find(key);
  if (found == nullptr) return;
  const bool is_list = found->is_array();
  const size_t count = is_list ? found->size() : 1;
  if (count > max_count) {
    return Invalid(key, absl::StrCat(count, " values, the limit is ", max_count));
  }
  std::vector<int32_t> numbers;
  for (size_t i = 0; i < count; ++i) {
    const json& item = is_list ? (*found)[i] : *found;
    const std::optional<int64_t> number = AsInteger(item);
    if (!number.has_value()) {
      return Invalid(key, absl::StrCat(Show(item), " is not an integer"));
    }
    if (*number < min || *number > max) {
      return Invalid(key, absl::StrCat(*number, " is not in [", min, ", ", max, "]"));
    }
    numbers.push_back(static_cast<int32_t>(*number));
  }
  *value = std::move(numbers);
}

ConfigReader ConfigReader::Object(const char* key) const {
  static const json* const kEmpty = new json(json::object());
  const json* found = Find(key);
  if (found != nullptr && !found->is_object()) {
    Invalid(key, absl::StrCat(Show(*found), " is not an object"));
    found = nullptr;
  }
  return ConfigReader(file_, found == nullptr ? kEmpty : found, absl::StrCat(prefix_, key, "."));
}

std::string ConfigReader::NameOf(const char* key) const { return absl::StrCat(prefix_, key); }

void ConfigReader::Fail(absl::StatusCode code, const char* key, absl::string_view problem) const {
  if (!file_->status.ok()) return;
  file_->status = absl::Status(code, absl::StrCat(file_->name, ": ", NameOf(key), ": ", problem));
}

void ConfigReader::Invalid(const char* key, absl::string_view problem) const {
  Fail(absl::StatusCode::kInvalidArgument, key, problem);
}

void ConfigReader::Unsupported(const char* key, absl::string_view problem) const {
  Fail(absl::StatusCode::kUnimplemented, key, problem);
}

void ConfigReader::RefuseIfPresent(const char* key) const {
  const json* const found = Find(key);
  if (found != nullptr) Unsupported(key, absl::StrCat(Show(*found), " is not supported"));
}

const absl::Status& ConfigReader::status() const { return file_->status; }

std::string Quoted(absl::string_view value) {
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, 60)), "\"");
}

}  // namespace prefixd
