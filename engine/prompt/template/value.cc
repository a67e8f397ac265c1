#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return false;
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return value.integer() != 0;
    case Value::Kind::kFloat:
      return value.real() != 0;
    case Value::Kind::kString:
      return !value.text().empty();
    case Value::Kind::kList:
      return value.list().flavour == List::Flavour::kGenerator || !value.list().items.empty();
    case Value::Kind::kDict:
      return !value.dict().entries.empty();
    case Value::Kind::kNamespace:
    case Value::Kind::kCallable:
    case Value::Kind::kLoop:
      return true;
  }
  return true;
}

absl::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return "Undefined";
    case Value::Kind::kNone:
      return "NoneType";
    case Value::Kind::kBool:
      return "bool";
    case Value::Kind::kInt:
      return "int";
    case Value::Kind::kFloat:
      return "float";
    case Value::Kind::kString:
      return "str";
    case Value::Kind::kList:
      switch (value.list().flavour) {
        case List::Flavour::kList:
          return "list";
        case List::Flavour::kTuple:
          return "tuple";
        case List::Flavour::kRange:
          return "range";
        case List::Flavour::kView:
          return "dict view";
        case List::Flavour::kGenerator:
          return "generator";
      }
      return "list";
    case Value::Kind::kDict:
      return "dict";
    case Value::Kind::kNamespace:
      return "namespace";
    case Value::Kind::kCallable:
      return "function";
    case Value::Kind::kLoop:
      return "loop";
  }
  return "?";
}

}  // namespace prefixd::jinja
