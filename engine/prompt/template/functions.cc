// The functions that every template finds.
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr size_t kMaxTimeFormatBytes = 256;

Result Range(Interpreter& in, const Value&, const Args& args) {
  const size_t count = args.positional.size();
  if (count < 1 || count > 3 || !args.named.empty()) return Fail("range takes 1 to 3 arguments");
  for (const Value& value : args.positional) {
    if (!value.is_integral()) {
      return Fail(absl::StrCat("range: an argument of type ", TypeName(value)));
    }
  }
  const int64_t start = count == 1 ? 0 : args.positional[0].integer();
  const int64_t stop = args.positional[count == 1 ? 0 : 1].integer();
  const int64_t step = count == 3 ? args.positional[2].integer() : 1;
  if (step == 0) return Fail("range: the step is zero");
  std::vector<Value> items;
  int64_t value = start;
  while (step > 0 ? value < stop : value > stop) {
    items.push_back(Value(value));
    PREFIXD_RETURN_IF_ERROR(in.heap().CheckItems(items.size()));
    if (__builtin_add_overflow(value, step, &value)) break;
  }
  return in.heap().NewList(std::move(items), List::Flavour::kRange);
}

// dict(other, name=value, ...).
absl::StatusOr<Dict> DictOf(absl::string_view function, Interpreter& in, const Args& args) {
  Dict dict;
  if (args.positional.size() > 1) return Fail(absl::StrCat(function, " takes one dict at most"));
  if (args.positional.size() == 1) {
    const Value& other = args.positional[0];
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(other, &in.heap()));
    if (other.is(Value::Kind::kDict)) dict = other.dict();
    for (const Value& item : items) {
      if (other.is(Value::Kind::kDict)) break;
      PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> pair, Items(item, &in.heap()));
      if (pair.size() != 2) return Fail(absl::StrCat(function, ": an item that is no pair"));
      PREFIXD_RETURN_IF_ERROR(SetEntry(pair[0], pair[1], &in.heap(), &dict));
    }
  }
  for (const auto& [name, value] : args.named) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, in.heap().NewString(name));
    PREFIXD_RETURN_IF_ERROR(SetEntry(key, value, &in.heap(), &dict));
  }
  return dict;
}

Result MakeDict(Interpreter& in, const Value&, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(Dict dict, DictOf("dict", in, args));
  return in.heap().NewDict(std::move(dict));
}

Result MakeNamespace(Interpreter& in, const Value&, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Dict dict, DictOf("namespace", in, args));
  Namespace space;
  for (const auto& [key, value] : dict.entries) {
    if (!key.is_string()) return Fail("namespace: a name that is no string");
    space.attributes.emplace_back(std::string(key.view()), value);
  }
  return in.heap().NewNamespace(std::move(space));
}

Result RaiseException(Interpreter& in, const Value&, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("raise_exception", args, {"message"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Text message, Str(bound.at(0), &in.heap()));
  return in.Raise(message.view().substr(0, kMaxSearchBytes));
}

Result FormatNow(Interpreter& in, const Value&, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("strftime_now", args, {"format"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const format, bound.TextAt(0));
  if (format->size() > kMaxTimeFormatBytes) return Fail("strftime_now: the format is too long");
  if (!format->IsTemplates(0, format->size())) {
    return Fail("strftime_now: the format comes from a message");
  }
  return in.heap().NewString(
      absl::FormatTime(std::string(format->view()), in.now(), absl::LocalTimeZone()));
}

constexpr NamedCallee kFunctions[] = {
    {"range", Range},
    {"dict", MakeDict},
    {"namespace", MakeNamespace},
    {"raise_exception", RaiseException},
    {"strftime_now", FormatNow},
};

}  // namespace

absl::Span<const NamedCallee> Functions() { return kFunctions; }

}  // namespace prefixd::jinja
