#include "server/yaml_tree.h"

#include <algorithm>
#include <exception>
#include <set>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using Kind = YamlNode::Kind;

// Builds the tree from events, so that an alias is never expanded. After the first error the rest
// of the document is only counted.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(absl::string_view name) : name_(name) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (Enter(mark, "", anchor)) Add({.kind = Kind::kNull, .line = mark.line + 1});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark.line + 1, "aliases are not allowed");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!Enter(mark, tag, anchor)) return;
    if (!open_.empty() && open_.back().kind == Kind::kMap && !has_key_.back()) {
      return AddKey(mark, value);
    }
    Add({.kind = Kind::kScalar, .line = mark.line + 1, .scalar = value});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  void Fail(int line, absl::string_view why) {
    if (error_.ok()) error_ = YamlError(name_, line, why);
  }
  const absl::Status& error() const { return error_; }
  YamlNode TakeRoot() { return std::move(root_); }

 private:
  // Checks what holds for every node. Returns whether it may be added.
  bool Enter(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) Fail(mark.line + 1, "anchors are not allowed");
    // "?" marks a plain node and "!" a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!") Fail(mark.line + 1, "tags are not allowed");
    if (++num_nodes_ > kMaxYamlNodes) {
      Fail(mark.line + 1, absl::StrCat("more than ", kMaxYamlNodes, " values"));
    }
    return error_.ok();
  }

  void AddKey(const YAML::Mark& mark, const std::string& key) {
    YamlNode& map = open_.back();
    if (!keys_.back().insert(key).second) {
      const auto first = std::find(map.keys.begin(), map.keys.end(), key);
      const int line = map.key_lines[static_cast<size_t>(first - map.keys.begin())];
      return Fail(mark.line + 1,
                  absl::StrCat("`", key.substr(0, 128), "` was set in line ", line, " already"));
    }
    map.keys.push_back(key);
    map.key_lines.push_back(mark.line + 1);
    has_key_.back() = true;
  }

  void Add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    YamlNode& parent = open_.back();
    if (parent.kind == Kind::kMap) {
      if (!has_key_.back()) return Fail(node.line, "a key must be a word");
      has_key_.back() = false;
    }
    parent.children.push_back(std::move(node));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind) {
    Enter(mark, tag, anchor);
    if (++depth_ > kMaxYamlDepth) {
      Fail(mark.line + 1, absl::StrCat("nested deeper than ", kMaxYamlDepth));
    }
    if (!error_.ok()) return;
    open_.push_back({.kind = kind, .line = mark.line + 1});
    has_key_.push_back(false);
    keys_.emplace_back();
  }

  void Close() {
    --depth_;
    if (!error_.ok()) return;
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    has_key_.pop_back();
    keys_.pop_back();
    Add(std::move(node));
  }

  const std::string name_;
  int depth_ = 0;
  int num_nodes_ = 0;
  // What is open, outermost first; for each: whether a key waits for its value, and all keys.
  std::vector<YamlNode> open_;
  std::vector<bool> has_key_;
  std::vector<std::set<std::string>> keys_;
  YamlNode root_;
  absl::Status error_;
};

}  // namespace

absl::Status YamlError(absl::string_view name, int line, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", line, ": ", why));
}

absl::StatusOr<YamlNode> ParseYamlTree(absl::string_view name, const std::string& text) {
  if (const size_t at = text.find('\r'); at != std::string::npos) {
    const auto line = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n') + 1;
    return YamlError(name, static_cast<int>(line),
                     "carriage return; save the file with LF line ends");
  }
  TreeBuilder builder(name);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder) && builder.error().ok()) {
      TreeBuilder second(name);
      if (parser.HandleNextDocument(second)) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": more than one YAML document"));
      }
    }
  } catch (const YAML::Exception& e) {
    builder.Fail(e.mark.line + 1, e.msg);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": cannot be parsed as YAML"));
  }
  PREFIXD_RETURN_IF_ERROR(builder.error());
  return builder.TakeRoot();
}

}  // namespace prefixd
