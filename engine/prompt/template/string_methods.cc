#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"
#include "engine/prompt/template/text_operations.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <bool left, bool right>
Result StripMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("strip", args, {"chars"}));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const chars, bound.TextOrNull(0));
  return StripText(self.text(), chars, left, right, &in.heap());
}

template <Text (*map)(const Text&)>
Result CaseMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("the method", args, {}).status());
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(8 * self.text().size()));
  return in.heap().NewText(map(self.text()));
}

Result Split(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("split", args, {"sep", "maxsplit"}));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const separator, bound.TextOrNull(0));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t count, bound.IntegerOr(1, -1));
  return SplitText(self.text(), separator, count, &in.heap());
}

Result RightSplit(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("rsplit", args, {"sep", "maxsplit"}));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const separator, bound.TextOrNull(0));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t count, bound.IntegerOr(1, -1));
  return SplitTextFromRight(self.text(), separator, count, &in.heap());
}

Result SplitLinesMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("splitlines", args, {"keepends"}));
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(8 * self.text().size()));
  std::vector<Value> items;
  for (Text& line : SplitLines(self.text(), bound.flag(0))) {
    PREFIXD_ASSIGN_OR_RETURN(const Value item, in.heap().NewText(std::move(line)));
    items.push_back(item);
  }
  return in.heap().NewList(std::move(items));
}

template <bool at_end>
Result Affix(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind(at_end ? "endswith" : "startswith", args, {"affix"}, 1));
  std::vector<Value> affixes = {bound.at(0)};
  if (bound.at(0).is(Value::Kind::kList) && bound.at(0).list().flavour == List::Flavour::kTuple) {
    affixes = bound.at(0).list().items;
  }
  for (const Value& affix : affixes) {
    if (!affix.is_string()) {
      return Fail(absl::StrCat("startswith, endswith: an argument of type ", TypeName(affix)));
    }
    PREFIXD_RETURN_IF_ERROR(in.heap().Charge(1 + affix.text().size() / 64));
    if (at_end ? absl::EndsWith(self.view(), affix.view())
               : absl::StartsWith(self.view(), affix.view())) {
      return Value(true);
    }
  }
  return Value(false);
}

template <bool at_end>
Result RemoveAffix(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(
      const Arguments bound,
      Arguments::Bind(at_end ? "removesuffix" : "removeprefix", args, {"affix"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const affix, bound.TextAt(0));
  const Text& text = self.text();
  if (at_end && absl::EndsWith(text.view(), affix->view())) {
    return in.heap().NewText(text.Slice(0, text.size() - affix->size()));
  }
  if (!at_end && absl::StartsWith(text.view(), affix->view())) {
    return in.heap().NewText(text.Slice(affix->size(), text.size()));
  }
  return self;
}

Result ReplaceMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("replace", args, {"old", "new", "count"}, 2));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const from, bound.TextAt(0));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const to, bound.TextAt(1));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t count, bound.IntegerOr(2, -1));
  return ReplaceText(self.text(), *from, *to, count, &in.heap());
}

Result JoinMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("join", args, {"iterable"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(bound.at(0), &in.heap()));
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string()) {
      return Fail(absl::StrCat("join: an item of type ", TypeName(items[i])));
    }
    if (i > 0) out.Append(self.text());
    PREFIXD_RETURN_IF_ERROR(AppendStr(items[i], &in.heap(), &out));
    PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(self.text().size()));
  }
  return in.heap().NewText(std::move(out));
}

// The place of a text, counted in characters; -1 if it is not there.
template <bool last>
Result Find(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind(last ? "rfind" : "find", args, {"sub"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const needle, bound.TextAt(0));
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(4 * self.text().size()));
  const size_t found = last ? self.view().rfind(needle->view()) : self.view().find(needle->view());
  if (found == absl::string_view::npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(CountCharacters(self.view().substr(0, found))));
}

Result CountMethod(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("count", args, {"sub"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const needle, bound.TextAt(0));
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(4 * self.text().size()));
  if (needle->empty()) return Value(static_cast<int64_t>(CountCharacters(self.view())) + 1);
  int64_t count = 0;
  for (size_t at = self.view().find(needle->view()); at != absl::string_view::npos;
       at = self.view().find(needle->view(), at + needle->size())) {
    ++count;
  }
  return Value(count);
}

// What stands in a replacement field of `format`: a number, a name, or nothing (the next one).
absl::StatusOr<Value> FormatField(absl::string_view field, const Args& args, size_t* next) {
  for (const auto& [name, value] : args.named) {
    if (name == field) return value;
  }
  size_t index = 0;
  if (field.empty()) {
    index = (*next)++;
  } else if (!absl::SimpleAtoi(field, &index)) {
    return Fail(absl::StrCat("format: the field {", field.substr(0, 64), "} is not supported"));
  }
  if (index >= args.positional.size()) return Fail("format: there are too few arguments");
  return args.positional[index];
}

// str.format with plain fields: {} {0} {name} {{ }}.
Result Format(Interpreter& in, const Value& self, const Args& args) {
  const Text& text = self.text();
  const absl::string_view bytes = text.view();
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(4 * bytes.size()));
  Text out;
  size_t next = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t special = std::min(bytes.find_first_of("{}", i), bytes.size());
    out.Append(text, i, special);
    i = special;
    if (i == bytes.size()) break;
    if (i + 1 < bytes.size() && bytes[i + 1] == bytes[i]) {
      out.Append(text, i, i + 1);
      i += 2;
      continue;
    }
    const size_t end = bytes.find('}', i);
    if (bytes[i] == '}' || end == absl::string_view::npos) return Fail("format: a lone bracket");
    PREFIXD_ASSIGN_OR_RETURN(const Value value,
                             FormatField(bytes.substr(i + 1, end - i - 1), args, &next));
    PREFIXD_RETURN_IF_ERROR(AppendStr(value, &in.heap(), &out));
    PREFIXD_RETURN_IF_ERROR(in.heap().Charge(1));
    i = end + 1;
  }
  return in.heap().NewText(std::move(out));
}

template <bool (*holds)(uint32_t)>
Result AllCharacters(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("the method", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(const bool all, [&]() -> absl::StatusOr<bool> {
    PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(4 * self.text().size()));
    const std::vector<size_t> starts = CharacterStarts(self.view());
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      if (!holds(CharacterAt(self.view(), starts[i]).code_point)) return false;
    }
    return starts.size() > 1;
  }());
  return Value(all);
}
bool IsDigit(uint32_t c) { return c >= '0' && c <= '9'; }

constexpr NamedCallee kMethods[] = {
    {"strip", StripMethod<true, true>},
    {"lstrip", StripMethod<true, false>},
    {"rstrip", StripMethod<false, true>},
    {"upper", CaseMethod<Upper>},
    {"lower", CaseMethod<Lower>},
    {"capitalize", CaseMethod<Capitalize>},
    {"title", CaseMethod<TitleWords>},
    {"split", Split},
    {"rsplit", RightSplit},
    {"splitlines", SplitLinesMethod},
    {"startswith", Affix<false>},
    {"endswith", Affix<true>},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"replace", ReplaceMethod},
    {"join", JoinMethod},
    {"find", Find<false>},
    {"rfind", Find<true>},
    {"count", CountMethod},
    {"format", Format},
    {"isdigit", AllCharacters<IsDigit>},
    {"isspace", AllCharacters<IsSpace>},
};

}  // namespace

absl::Span<const NamedCallee> StringMethods() { return kMethods; }

}  // namespace prefixd::jinja
