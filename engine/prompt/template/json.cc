#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/print.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(const JsonOptions& options, Heap* heap) : options_(options), heap_(*heap) {}

  absl::Status Write(const Value& value, int depth);
  Text Take() { return std::move(out_); }

 private:
  absl::Status Quoted(const Text& text);
  absl::Status WriteList(const List& list, int depth);
  absl::Status WriteDict(const Dict& dict, int depth);
  // The text of a key that is no string.
  absl::StatusOr<Text> KeyText(const Value& key);
  void BreakLine(int depth);

  const JsonOptions& options_;
  Heap& heap_;
  Text out_;
};

std::string Number(double real) {
  if (std::isnan(real)) return "NaN";
  if (std::isinf(real)) return real < 0 ? "-Infinity" : "Infinity";
  return FloatRepr(real);
}

absl::Status JsonWriter::Write(const Value& value, int depth) {
  if (depth > kMaxValueDepth) return Fail("tojson: lists in lists are nested too deep");
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(1));
  switch (value.kind()) {
    case Value::Kind::kNone:
      out_.Append("null");
      break;
    case Value::Kind::kBool:
      out_.Append(value.integer() != 0 ? "true" : "false");
      break;
    case Value::Kind::kInt:
      out_.Append(absl::StrCat(value.integer()));
      break;
    case Value::Kind::kFloat:
      out_.Append(Number(value.real()));
      break;
    case Value::Kind::kString:
      PREFIXD_RETURN_IF_ERROR(Quoted(value.text()));
      break;
    case Value::Kind::kList:
      PREFIXD_RETURN_IF_ERROR(WriteList(value.list(), depth));
      break;
    case Value::Kind::kDict:
      PREFIXD_RETURN_IF_ERROR(WriteDict(value.dict(), depth));
      break;
    default:
      return Fail(absl::StrCat("tojson: a value of type ", TypeName(value), " is not JSON"));
  }
  return heap_.CheckTextSize(out_.size());
}

absl::Status JsonWriter::Quoted(const Text& text) {
  PREFIXD_RETURN_IF_ERROR(heap_.ChargeBytes(4 * text.size()));
  constexpr absl::string_view kEscaped = "\"\\\n\r\t\f\b";
  constexpr absl::string_view kLetters = "\"\\nrtfb";
  out_.Append("\"");
  for (size_t i = 0; i < text.size();) {
    const Character c = CharacterAt(text.view(), i);
    std::string escaped;
    const size_t short_form =
        c.code_point < 0x80 ? kEscaped.find(static_cast<char>(c.code_point)) : std::string::npos;
    if (short_form != std::string::npos) {
      escaped = {'\\', kLetters[short_form]};
    } else if (c.code_point < 0x20 || (options_.ensure_ascii && c.code_point >= 0x7F)) {
      if (c.code_point >= 0x10000) {
        const uint32_t rest = c.code_point - 0x10000;
        escaped = absl::StrFormat("\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
      } else {
        escaped = absl::StrFormat("\\u%04x", c.code_point);
      }
    }
    if (escaped.empty()) {
      out_.Append(text, i, i + c.num_bytes);
    } else {
      out_.Append(escaped, text.mark(i));
    }
    i += c.num_bytes;
  }
  out_.Append("\"");
  return absl::OkStatus();
}

void JsonWriter::BreakLine(int depth) {
  if (!options_.multiline) return;
  out_.Append("\n");
  for (int i = 0; i < depth; ++i) out_.Append(options_.indent);
}

absl::Status JsonWriter::WriteList(const List& list, int depth) {
  if (list.flavour != List::Flavour::kList && list.flavour != List::Flavour::kTuple) {
    return Fail("tojson: only lists and tuples are JSON; filter others with |list");
  }
  out_.Append("[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out_.Append(options_.item_separator);
    BreakLine(depth + 1);
    PREFIXD_RETURN_IF_ERROR(Write(list.items[i], depth + 1));
  }
  if (!list.items.empty()) BreakLine(depth);
  out_.Append("]");
  return absl::OkStatus();
}

absl::StatusOr<Text> JsonWriter::KeyText(const Value& key) {
  switch (key.kind()) {
    case Value::Kind::kString:
      return key.text();
    case Value::Kind::kNone:
      return Text("null");
    case Value::Kind::kBool:
      return Text(key.integer() != 0 ? "true" : "false");
    case Value::Kind::kInt:
      return Text(absl::StrCat(key.integer()));
    case Value::Kind::kFloat:
      return Text(Number(key.real()));
    default:
      return Fail(absl::StrCat("tojson: a key of type ", TypeName(key)));
  }
}

absl::Status JsonWriter::WriteDict(const Dict& dict, int depth) {
  std::vector<const std::pair<Value, Value>*> entries;
  for (const auto& entry : dict.entries) entries.push_back(&entry);
  if (options_.sort_keys) {
    for (const auto* entry : entries) {
      if (!entry->first.is_string()) return Fail("tojson: sort_keys needs keys that are strings");
    }
    std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
      return a->first.view() < b->first.view();
    });
  }
  out_.Append("{");
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out_.Append(options_.item_separator);
    BreakLine(depth + 1);
    PREFIXD_ASSIGN_OR_RETURN(const Text key, KeyText(entries[i]->first));
    PREFIXD_RETURN_IF_ERROR(Quoted(key));
    out_.Append(options_.key_separator);
    PREFIXD_RETURN_IF_ERROR(Write(entries[i]->second, depth + 1));
  }
  if (!entries.empty()) BreakLine(depth);
  out_.Append("}");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Text> ToJson(const Value& value, const JsonOptions& options, Heap* heap) {
  JsonWriter writer(options, heap);
  PREFIXD_RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Take();
}

}  // namespace prefixd::jinja
