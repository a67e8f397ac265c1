#include "server/config_file.h"

#include <exception>
#include <sstream>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

// Collects the entries of a flat mapping and the first thing that is not one. Working on events
// means that an alias is never expanded.
class FlatMapping final : public YAML::EventHandler {
 public:
  explicit FlatMapping(absl::string_view name) : name_(name) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (anchor != YAML::NullAnchor) return Fail(mark, "anchors are not allowed");
    if (depth_ == 0) return;  // An empty document.
    if (expecting_key_) return Fail(mark, "a key is missing");
    FailAt(key_line_, absl::StrCat("`", key_, "` has no value"));  // `mark` is further on.
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark, "aliases are not allowed");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (anchor != YAML::NullAnchor) return Fail(mark, "anchors are not allowed");
    // "?" marks a plain scalar and "!" a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!") return Fail(mark, "tags are not allowed");
    if (depth_ != 1) return Fail(mark, "expected `key: value`");
    if (expecting_key_) return OnKey(mark, value);
    entries_.push_back({key_, value, mark.line + 1});
    expecting_key_ = true;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Fail(mark, "lists are not allowed");
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (anchor != YAML::NullAnchor) return Fail(mark, "anchors are not allowed");
    if (++depth_ > 1) Fail(mark, "nested mappings are not allowed");
  }
  void OnMapEnd() override { --depth_; }

  void Fail(const YAML::Mark& mark, absl::string_view why) { FailAt(mark.line + 1, why); }

  const absl::Status& error() const { return error_; }
  std::vector<ConfigEntry> TakeEntries() { return std::move(entries_); }

 private:
  void FailAt(int line, absl::string_view why) {
    if (!error_.ok()) return;  // The first error counts.
    error_ = absl::InvalidArgumentError(absl::StrCat(name_, ":", line, ": ", why));
  }

  void OnKey(const YAML::Mark& mark, const std::string& key) {
    for (const ConfigEntry& entry : entries_) {
      if (entry.key == key) {
        return Fail(mark, absl::StrCat("`", key, "` was set in line ", entry.line, " already"));
      }
    }
    // A file has at most some hundred keys; this bounds the search above.
    if (entries_.size() >= 1024) return Fail(mark, "more than 1024 keys");
    key_ = key.substr(0, 128);
    key_line_ = mark.line + 1;
    expecting_key_ = false;
  }

  const std::string name_;
  int depth_ = 0;
  bool expecting_key_ = true;
  std::string key_;
  int key_line_ = 0;
  std::vector<ConfigEntry> entries_;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfig(absl::string_view name,
                                                     const std::string& text) {
  FlatMapping mapping(name);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(mapping) && mapping.error().ok()) {
      FlatMapping second(name);
      if (parser.HandleNextDocument(second)) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": more than one YAML document"));
      }
    }
  } catch (const YAML::Exception& e) {
    mapping.Fail(e.mark, e.msg);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": cannot be parsed as YAML"));
  }
  PREFIXD_RETURN_IF_ERROR(mapping.error());
  return mapping.TakeEntries();
}

absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigFileBytes));
  return ParseConfig(path, text);
}

}  // namespace prefixd
