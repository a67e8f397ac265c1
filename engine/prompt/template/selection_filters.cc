#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/attribute_path.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// Nothing is asked of what has no items and is false, such as none.
absl::StatusOr<std::vector<Value>> ItemsIfTrue(const Value& subject, Heap* heap) {
  if (!IsTrue(subject)) return std::vector<Value>();
  return Items(subject, heap);
}

// What follows the first `count` positional arguments.
Args After(const Args& args, size_t count) {
  Args rest = args;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<ptrdiff_t>(count));
  return rest;
}

Result MapAttribute(Interpreter& in, const Value& subject, const Args& args) {
  Value attribute, standard = Value::None();
  for (const auto& [name, value] : args.named) {
    if (name == "attribute") {
      attribute = value;
    } else if (name == "default") {
      standard = value;
    } else {
      return Fail(absl::StrCat("map: there is no argument \"", name, "\""));
    }
  }
  if (attribute.is_undefined()) return Fail("map: neither a filter nor an attribute is named");
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path, AttributePath::Create(attribute, &in));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsIfTrue(subject, &in.heap()));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value,
                             path.Of(item, standard.is_none() ? nullptr : &standard));
    mapped.push_back(value);
  }
  return in.heap().NewList(std::move(mapped), List::Flavour::kGenerator);
}

Result Map(Interpreter& in, const Value& subject, const Args& args) {
  if (args.positional.empty()) return MapAttribute(in, subject, args);
  const Value& name = args.positional[0];
  const Callee filter = name.is_string() ? FindFilter(name.view()) : nullptr;
  if (filter == nullptr) return Fail("map: the filter that it names is not known");
  const Args rest = After(args, 1);
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsIfTrue(subject, &in.heap()));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    PREFIXD_RETURN_IF_ERROR(in.heap().Charge(1));
    PREFIXD_ASSIGN_OR_RETURN(const Value value, filter(in, item, rest));
    mapped.push_back(value);
  }
  return in.heap().NewList(std::move(mapped), List::Flavour::kGenerator);
}

// The items whose value (or attribute) passes a test, or does not.
Result Pick(absl::string_view filter, bool by_attribute, bool wanted, Interpreter& in,
            const Value& subject, const Args& args) {
  const size_t offset = by_attribute ? 1 : 0;
  if (args.positional.size() < offset) {
    return Fail(absl::StrCat(filter, ": the attribute is missing"));
  }
  Callee test = nullptr;
  Args rest;
  if (args.positional.size() > offset) {
    const Value& name = args.positional[offset];
    test = name.is_string() ? FindTest(name.view()) : nullptr;
    if (test == nullptr) return Fail(absl::StrCat(filter, ": the test that it names is not known"));
    rest = After(args, offset + 1);
  }
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path,
                           AttributePath::Create(by_attribute ? args.positional[0] : Value(), &in));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsIfTrue(subject, &in.heap()));
  std::vector<Value> picked;
  for (const Value& item : items) {
    PREFIXD_RETURN_IF_ERROR(in.heap().Charge(1));
    PREFIXD_ASSIGN_OR_RETURN(Value value, path.Of(item));
    if (test != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(value, test(in, value, rest));
    }
    if (IsTrue(value) == wanted) picked.push_back(item);
  }
  return in.heap().NewList(std::move(picked), List::Flavour::kGenerator);
}

Result Select(Interpreter& in, const Value& subject, const Args& args) {
  return Pick("select", /*by_attribute=*/false, /*wanted=*/true, in, subject, args);
}
Result Reject(Interpreter& in, const Value& subject, const Args& args) {
  return Pick("reject", /*by_attribute=*/false, /*wanted=*/false, in, subject, args);
}
Result SelectAttr(Interpreter& in, const Value& subject, const Args& args) {
  return Pick("selectattr", /*by_attribute=*/true, /*wanted=*/true, in, subject, args);
}
Result RejectAttr(Interpreter& in, const Value& subject, const Args& args) {
  return Pick("rejectattr", /*by_attribute=*/true, /*wanted=*/false, in, subject, args);
}

constexpr NamedCallee kSelectionFilters[] = {
    {"map", Map},
    {"select", Select},
    {"reject", Reject},
    {"selectattr", SelectAttr},
    {"rejectattr", RejectAttr},
};

}  // namespace

absl::Span<const NamedCallee> SelectionFilters() { return kSelectionFilters; }

}  // namespace prefixd::jinja
