#include "engine/prompt/template/print.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/limits.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

class Printer {
 public:
  Printer(Heap* heap, Text* out) : heap_(*heap), out_(*out) {}

  absl::Status Str(const Value& value);
  absl::Status Repr(const Value& value, int depth);

 private:
  absl::Status Quoted(const Text& text);
  absl::Status ListRepr(const List& list, int depth);
  absl::Status DictRepr(const Dict& dict, int depth);

  Heap& heap_;
  Text& out_;
};

absl::Status Printer::Str(const Value& value) {
  if (value.is_undefined()) return absl::OkStatus();
  if (!value.is_string()) return Repr(value, 0);
  PREFIXD_RETURN_IF_ERROR(heap_.ChargeBytes(value.text().size()));
  out_.Append(value.text());
  return heap_.CheckTextSize(out_.size());
}

absl::Status Printer::Repr(const Value& value, int depth) {
  if (depth > kMaxValueDepth) return Fail("lists in lists are nested too deep to print");
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(1));
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      out_.Append("Undefined");
      break;
    case Value::Kind::kNone:
      out_.Append("None");
      break;
    case Value::Kind::kBool:
      out_.Append(value.integer() != 0 ? "True" : "False");
      break;
    case Value::Kind::kInt:
      out_.Append(absl::StrCat(value.integer()));
      break;
    case Value::Kind::kFloat:
      out_.Append(FloatRepr(value.real()));
      break;
    case Value::Kind::kString:
      PREFIXD_RETURN_IF_ERROR(Quoted(value.text()));
      break;
    case Value::Kind::kList:
      PREFIXD_RETURN_IF_ERROR(ListRepr(value.list(), depth));
      break;
    case Value::Kind::kDict:
      PREFIXD_RETURN_IF_ERROR(DictRepr(value.dict(), depth));
      break;
    case Value::Kind::kNamespace:
    case Value::Kind::kCallable:
    case Value::Kind::kLoop:
      return Fail(absl::StrCat("a ", TypeName(value), " cannot be printed"));
  }
  return heap_.CheckTextSize(out_.size());
}

absl::Status Printer::Quoted(const Text& text) {
  PREFIXD_RETURN_IF_ERROR(heap_.ChargeBytes(4 * text.size()));
  const absl::string_view bytes = text.view();
  const bool both =
      bytes.find('\'') != absl::string_view::npos && bytes.find('"') == absl::string_view::npos;
  const char quote = both ? '"' : '\'';
  out_.Append(absl::string_view(&quote, 1));
  for (size_t i = 0; i < bytes.size();) {
    const Character c = CharacterAt(bytes, i);
    const uint32_t point = c.code_point;
    std::string escaped;
    if (point == static_cast<uint32_t>(quote) || point == '\\') {
      escaped = {'\\', static_cast<char>(point)};
    } else if (point == '\n' || point == '\r' || point == '\t') {
      escaped = {'\\', point == '\n' ? 'n' : point == '\r' ? 'r' : 't'};
    } else if (!IsPrintable(point)) {
      escaped = point < 0x100     ? absl::StrFormat("\\x%02x", point)
                : point < 0x10000 ? absl::StrFormat("\\u%04x", point)
                                  : absl::StrFormat("\\U%08x", point);
    }
    if (escaped.empty()) {
      out_.Append(text, i, i + c.num_bytes);
    } else {
      out_.Append(escaped, text.mark(i));
    }
    i += c.num_bytes;
  }
  out_.Append(absl::string_view(&quote, 1));
  return absl::OkStatus();
}

absl::Status Printer::ListRepr(const List& list, int depth) {
  const bool tuple = list.flavour == List::Flavour::kTuple;
  if (!tuple && list.flavour != List::Flavour::kList) {
    return Fail("only lists and tuples can be printed; filter others with |list");
  }
  out_.Append(tuple ? "(" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out_.Append(", ");
    PREFIXD_RETURN_IF_ERROR(Repr(list.items[i], depth + 1));
  }
  if (tuple && list.items.size() == 1) out_.Append(",");
  out_.Append(tuple ? ")" : "]");
  return absl::OkStatus();
}

absl::Status Printer::DictRepr(const Dict& dict, int depth) {
  out_.Append("{");
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out_.Append(", ");
    PREFIXD_RETURN_IF_ERROR(Repr(dict.entries[i].first, depth + 1));
    out_.Append(": ");
    PREFIXD_RETURN_IF_ERROR(Repr(dict.entries[i].second, depth + 1));
  }
  out_.Append("}");
  return absl::OkStatus();
}

}  // namespace

absl::Status AppendStr(const Value& value, Heap* heap, Text* out) {
  return Printer(heap, out).Str(value);
}

absl::StatusOr<Text> Str(const Value& value, Heap* heap) {
  Text out;
  PREFIXD_RETURN_IF_ERROR(AppendStr(value, heap, &out));
  return out;
}

std::string FloatRepr(double real) {
  if (std::isnan(real)) return "nan";
  if (std::isinf(real)) return real < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same value, d.ddde+XX.
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), real, std::chars_format::scientific).ptr;
  std::string text(buffer, end);
  const bool negative = text[0] == '-';
  if (negative) text.erase(0, 1);
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  std::string digits = text.substr(0, e);
  if (digits.size() > 1) digits.erase(1, 1);
  std::string out = negative ? "-" : "";
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) absl::StrAppend(&out, ".", digits.substr(1));
    absl::StrAppendFormat(&out, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    absl::StrAppend(&out, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  } else if (count <= exponent + 1) {
    absl::StrAppend(&out, digits, std::string(static_cast<size_t>(exponent + 1 - count), '0'),
                    ".0");
  } else {
    const auto whole = static_cast<size_t>(exponent + 1);
    absl::StrAppend(&out, digits.substr(0, whole), ".", digits.substr(whole));
  }
  return out;
}

}  // namespace prefixd::jinja
