#include "base/json.h"

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

// Builds the value while it refuses what the library alone would let through.
class StrictHandler : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!std::isfinite(value))
      return Fail(absl::StrCat("number out of range: ", text.substr(0, 32)));
    return Add(value);
  }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return Fail("binary value"); }

  bool start_object(std::size_t) override { return Open(json::object()); }
  bool key(string_t& key) override {
    json& object = *open_.back();
    if (object.contains(key))
      return Fail(absl::StrCat("duplicate key \"", key.substr(0, 64), "\""));
    slot_ = &object[key];
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_array() override { return Close(); }

  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

  json TakeRoot() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  // Where the next value goes: the root, the end of an array, or the member named by the last key.
  json* NextSlot() {
    if (open_.empty()) return &root_;
    if (open_.back()->is_array()) {
      open_.back()->push_back(nullptr);
      return &open_.back()->back();
    }
    return slot_;
  }

  bool Add(json value) {
    *NextSlot() = std::move(value);
    return true;
  }

  bool Open(json empty) {
    if (static_cast<int>(open_.size()) >= kMaxJsonDepth) {
      return Fail(absl::StrCat("nested deeper than ", kMaxJsonDepth));
    }
    json* const slot = NextSlot();
    *slot = std::move(empty);
    open_.push_back(slot);
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  json root_;
  std::vector<json*> open_;  // The containers around the next value; addresses stay valid because
                             // only the innermost one grows.
  json* slot_ = nullptr;
  std::string error_;
};

}  // namespace

absl::StatusOr<json> ParseJson(absl::string_view text) {
  if (text.size() >= 3 && text.substr(0, 3) == "\xEF\xBB\xBF") {
    return absl::InvalidArgumentError("JSON begins with a byte order mark");
  }
  StrictHandler handler;
  if (!json::sax_parse(text.begin(), text.end(), &handler)) {
    return absl::InvalidArgumentError(handler.error());
  }
  return handler.TakeRoot();
}

absl::StatusOr<json> ReadJsonFile(const std::string& path, size_t max_bytes) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  absl::StatusOr<json> value = ParseJson(text);
  if (!value.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", value.status().message()));
  }
  return value;
}

}  // namespace prefixd
