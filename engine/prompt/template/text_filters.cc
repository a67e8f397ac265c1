#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/print.h"
#include "engine/prompt/template/text_operations.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Trim(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("trim", args, {"chars"}));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const chars, bound.TextOrNull(0));
  PREFIXD_ASSIGN_OR_RETURN(const Text text, Str(subject, &in.heap()));
  return StripText(text, chars, /*left=*/true, /*right=*/true, &in.heap());
}

Result Mapped(absl::string_view name, Text (*map)(const Text&), Interpreter& in,
              const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind(name, args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(const Text text, Str(subject, &in.heap()));
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(8 * text.size()));
  return in.heap().NewText(map(text));
}

Result UpperFilter(Interpreter& in, const Value& subject, const Args& args) {
  return Mapped("upper", Upper, in, subject, args);
}
Result LowerFilter(Interpreter& in, const Value& subject, const Args& args) {
  return Mapped("lower", Lower, in, subject, args);
}
Result CapitalizeFilter(Interpreter& in, const Value& subject, const Args& args) {
  return Mapped("capitalize", Capitalize, in, subject, args);
}

// Jinja's own notion: words begin after white space or one of - ( { [ <.
Text TitleBySeparators(const Text& text) {
  Text out;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const Character c = CharacterAt(text.view(), i);
    const Text one = text.Slice(i, i + c.num_bytes);
    const bool separator =
        IsSpace(c.code_point) ||
        (c.code_point < 0x80 && absl::string_view("-({[<").find(static_cast<char>(c.code_point)) !=
                                    absl::string_view::npos);
    out.Append(separator ? one : inside ? Lower(one) : Upper(one));
    inside = !separator;
    i += c.num_bytes;
  }
  return out;
}
Result TitleFilter(Interpreter& in, const Value& subject, const Args& args) {
  return Mapped("title", TitleBySeparators, in, subject, args);
}

Result String(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("string", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(Text text, Str(subject, &in.heap()));
  return in.heap().NewText(std::move(text));
}

// Without escaping there is nothing to be safe from.
Result Safe(Interpreter& in, const Value& subject, const Args& args) {
  return String(in, subject, args);
}

Result Escape(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("escape", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(const Text text, Str(subject, &in.heap()));
  Text out;
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.view()[i];
    const absl::string_view entity = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '\'' ? "&#39;"
                                     : c == '"'  ? "&#34;"
                                                 : "";
    if (entity.empty()) continue;
    out.Append(text, done, i);
    out.Append(entity, text.mark(i));
    done = i + 1;
  }
  out.Append(text, done, text.size());
  return in.heap().NewText(std::move(out));
}

Result Replace(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("replace", args, {"old", "new", "count"}, 2));
  PREFIXD_ASSIGN_OR_RETURN(const Text text, Str(subject, &in.heap()));
  PREFIXD_ASSIGN_OR_RETURN(const Text from, Str(bound.at(0), &in.heap()));
  PREFIXD_ASSIGN_OR_RETURN(const Text to, Str(bound.at(1), &in.heap()));
  int64_t count = -1;
  if (!bound.at(2).is_none()) {
    PREFIXD_ASSIGN_OR_RETURN(count, bound.IntegerOr(2, -1));
  }
  return ReplaceText(text, from, to, count, &in.heap());
}

Result Indent(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("indent", args, {"width", "first", "blank"}));
  Text indention;
  if (bound.at(0).is_string()) {
    indention = bound.at(0).text();
  } else {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t width, bound.IntegerOr(0, 4));
    if (width > 0) {
      PREFIXD_RETURN_IF_ERROR(in.heap().CheckTextSize(static_cast<uint64_t>(width)));
      indention = Text(std::string(static_cast<size_t>(width), ' '));
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(Text text, Str(subject, &in.heap()));
  text.Append("\n");
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(8 * text.size()));
  const std::vector<Text> lines = SplitLines(text, /*keep_ends=*/false);
  Text out;
  if (bound.flag(1)) out.Append(indention);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append("\n");
    if (i > 0 && (bound.flag(2) || !lines[i].empty())) out.Append(indention);
    out.Append(lines[i]);
    PREFIXD_RETURN_IF_ERROR(in.heap().CheckTextSize(out.size()));
  }
  return in.heap().NewText(std::move(out));
}

Result Json(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(
      const Arguments bound,
      Arguments::Bind("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonOptions options;
  options.ensure_ascii = bound.flag(0);
  options.sort_keys = bound.flag(3);
  if (bound.at(1).is_string()) {
    options.multiline = true;
    options.indent = bound.at(1).text();
  } else if (bound.has(1) && !bound.at(1).is_none()) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t width, bound.IntegerOr(1, 0));
    if (width > 64) return Fail("tojson: indent is larger than 64");
    options.multiline = true;
    if (width > 0) options.indent = Text(std::string(static_cast<size_t>(width), ' '));
  }
  if (options.indent.size() > 64) return Fail("tojson: indent is larger than 64");
  if (options.multiline) options.item_separator = Text(",");
  if (bound.has(2) && !bound.at(2).is_none()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> pair,
                             bound.at(2).is(Value::Kind::kList)
                                 ? absl::StatusOr<std::vector<Value>>(bound.at(2).list().items)
                                 : Fail("tojson: separators are no pair"));
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return Fail("tojson: separators are no pair of strings");
    }
    options.item_separator = pair[0].text();
    options.key_separator = pair[1].text();
  }
  PREFIXD_ASSIGN_OR_RETURN(Text json, ToJson(subject, options, &in.heap()));
  return in.heap().NewText(std::move(json));
}

constexpr NamedCallee kTextFilters[] = {
    {"trim", Trim},
    {"upper", UpperFilter},
    {"lower", LowerFilter},
    {"title", TitleFilter},
    {"capitalize", CapitalizeFilter},
    {"string", String},
    {"safe", Safe},
    {"e", Escape},
    {"escape", Escape},
    {"replace", Replace},
    {"indent", Indent},
    {"tojson", Json},
};

}  // namespace

absl::Span<const NamedCallee> TextFilters() { return kTextFilters; }

}  // namespace prefixd::jinja
