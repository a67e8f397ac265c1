// Methods of dicts, lists and loops. Those that change their object fail, as in Jinja's sandbox.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Get(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("get", args, {"key", "default"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const Value* const entry,
                           FindEntry(self.dict(), bound.at(0), &in.heap()));
  if (entry != nullptr) return *entry;
  return bound.has(1) ? bound.at(1) : Value::None();
}

enum class Part { kKeys, kValues, kItems };

template <Part part>
Result View(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("the method", args, {}).status());
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().entries) {
    Value item = part == Part::kKeys ? key : value;
    if (part == Part::kItems) {
      PREFIXD_ASSIGN_OR_RETURN(item, in.heap().NewList({key, value}, List::Flavour::kTuple));
    }
    items.push_back(item);
  }
  return in.heap().NewList(std::move(items), List::Flavour::kView);
}

Result Copy(Interpreter&, const Value& self, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("copy", args, {}).status());
  return self;  // Nothing changes it.
}

Result Count(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("count", args, {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : self.list().items) {
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(item, bound.at(0), &in.heap()));
    if (same) ++count;
  }
  return Value(count);
}

Result Index(Interpreter& in, const Value& self, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("index", args, {"value"}, 1));
  int64_t index = 0;
  for (const Value& item : self.list().items) {
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(item, bound.at(0), &in.heap()));
    if (same) return Value(index);
    ++index;
  }
  return Fail("index: the value is not in the list");
}

Result Cycle(Interpreter&, const Value& self, const Args& args) {
  if (args.positional.empty() || !args.named.empty()) return Fail("loop.cycle: no values");
  return args.positional[static_cast<size_t>(self.loop().index0) % args.positional.size()];
}

Result Changed(Interpreter& in, const Value& self, const Args& args) {
  if (!args.named.empty()) return Fail("loop.changed takes no named arguments");
  PREFIXD_ASSIGN_OR_RETURN(const Value now,
                           in.heap().NewList(args.positional, List::Flavour::kTuple));
  Loop& loop = self.loop();
  if (loop.changed) {
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(*loop.changed, now, &in.heap()));
    if (same) return Value(false);
  }
  loop.changed = now;
  return Value(true);
}

Result Forbidden(Interpreter&, const Value& self, const Args&) {
  return Fail(absl::StrCat("a template must not change a ", TypeName(self)));
}

constexpr NamedCallee kDictMethods[] = {
    {"get", Get},
    {"keys", View<Part::kKeys>},
    {"values", View<Part::kValues>},
    {"items", View<Part::kItems>},
    {"copy", Copy},
    {"update", Forbidden},
    {"pop", Forbidden},
    {"popitem", Forbidden},
    {"clear", Forbidden},
    {"setdefault", Forbidden},
};

constexpr NamedCallee kListMethods[] = {
    {"count", Count},      {"index", Index},      {"copy", Copy},        {"append", Forbidden},
    {"extend", Forbidden}, {"insert", Forbidden}, {"remove", Forbidden}, {"pop", Forbidden},
    {"clear", Forbidden},  {"sort", Forbidden},   {"reverse", Forbidden}};

constexpr NamedCallee kLoopMethods[] = {{"cycle", Cycle}, {"changed", Changed}};

Callee FindIn(absl::Span<const NamedCallee> table, absl::string_view name) {
  for (const auto& [known, callee] : table) {
    if (known == name) return callee;
  }
  return nullptr;
}

}  // namespace

Callee FindFilter(absl::string_view name) {
  for (const auto& table : {TextFilters(), NumberFilters(), ListFilters(), SelectionFilters()}) {
    if (const Callee callee = FindIn(table, name)) return callee;
  }
  return nullptr;
}

Callee FindTest(absl::string_view name) { return FindIn(Tests(), name); }

Callee FindFunction(absl::string_view name) { return FindIn(Functions(), name); }

Callee FindMethod(const Value& subject, absl::string_view name) {
  switch (subject.kind()) {
    case Value::Kind::kString:
      return FindIn(StringMethods(), name);
    case Value::Kind::kDict:
      return FindIn(kDictMethods, name);
    case Value::Kind::kLoop:
      return FindIn(kLoopMethods, name);
    case Value::Kind::kList:
      return subject.list().flavour == List::Flavour::kList ||
                     subject.list().flavour == List::Flavour::kTuple
                 ? FindIn(kListMethods, name)
                 : nullptr;
    default:
      return nullptr;
  }
}

bool IsMethodName(absl::string_view name) {
  for (const auto& table :
       {StringMethods(), absl::Span<const NamedCallee>(kDictMethods),
        absl::Span<const NamedCallee>(kListMethods), absl::Span<const NamedCallee>(kLoopMethods)}) {
    if (FindIn(table, name) != nullptr) return true;
  }
  return false;
}

}  // namespace prefixd::jinja
