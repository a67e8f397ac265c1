// Typed access to the members of a JSON object from a file; every error names file and key.
// Borrows the object; not to be kept.
#ifndef PREFIXD_ENGINE_TOKENIZER_JSON_FIELDS_H_
#define PREFIXD_ENGINE_TOKENIZER_JSON_FIELDS_H_

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// A value with the path that names it, such as `tokenizer.json: model.vocab`.
class JsonField {
 public:
  JsonField(const nlohmann::json* value, std::string where)
      : value_(value), where_(std::move(where)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_->is_null(); }

  // The member `key`; a missing member and a non-object give null.
  JsonField operator[](absl::string_view key) const;
  // Requires: an array, index < size.
  JsonField At(size_t index) const;

  absl::StatusOr<std::string> String() const;
  // Null gives `absent`.
  absl::StatusOr<std::string> StringOr(absl::string_view absent) const;
  absl::StatusOr<bool> BoolOr(bool absent) const;
  // An id: 0 <= id < 2^20 ("too large" beyond). Errors: INVALID_ARGUMENT.
  absl::StatusOr<int32_t> Id() const;
  // The number of elements of an array. Errors: INVALID_ARGUMENT for anything else.
  absl::StatusOr<size_t> ArraySize() const;

  absl::Status Invalid(absl::string_view what) const;
  absl::Status Unsupported(absl::string_view what) const;

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_JSON_FIELDS_H_
