// Calls: macros, functions, methods, filters.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {

std::string Describe(const Expression& e) {
  if (e.kind == Expression::Kind::kName || e.kind == Expression::Kind::kAttribute) {
    return absl::StrCat("\"", e.name, "\"");
  }
  if (e.kind == Expression::Kind::kItem && e.operands[1]->value.is_string()) {
    return absl::StrCat("\"", e.operands[1]->value.view().substr(0, 64), "\"");
  }
  return "a value";
}

absl::StatusOr<Args> Interpreter::EvalArguments(const Expression& e, Scope* scope) {
  Args args;
  for (size_t i = 1; i < e.operands.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*e.operands[i], scope));
    args.positional.push_back(value);
  }
  for (const auto& [name, operand] : e.named) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*operand, scope));
    args.named.emplace_back(name, value);
  }
  return args;
}

absl::StatusOr<Value> Interpreter::EvalCall(const Expression& e, Scope* scope,
                                            const Value* caller) {
  PREFIXD_ASSIGN_OR_RETURN(const Value callee, Eval(*e.operands[0], scope));
  PREFIXD_ASSIGN_OR_RETURN(Args args, EvalArguments(e, scope));
  if (callee.is_undefined()) return Fail(absl::StrCat(Describe(*e.operands[0]), " is undefined"));
  if (caller != nullptr) args.named.emplace_back("caller", *caller);
  return Call(callee, args);
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, const Args& args) {
  if (!callee.is(Value::Kind::kCallable)) {
    return Fail(absl::StrCat("a value of type ", TypeName(callee), " cannot be called"));
  }
  const Callable& callable = callee.callable();
  if (callable.callee != nullptr) return callable.callee(*this, callable.subject, args);
  return CallMacro(callable, args);
}

absl::StatusOr<Interpreter::MacroArguments> Interpreter::BindMacro(const Statement& macro,
                                                                   const Args& args) {
  MacroArguments bound;
  bound.values.resize(macro.parameters.size());
  for (size_t i = 0; i < args.positional.size(); ++i) {
    if (i < bound.values.size()) {
      bound.values[i] = args.positional[i];
    } else {
      bound.rest.push_back(args.positional[i]);
    }
  }
  if (!bound.rest.empty() && !macro.takes_varargs) {
    return Fail(absl::StrCat("macro \"", macro.name, "\" takes ", macro.parameters.size(),
                             " arguments, not ", args.positional.size()));
  }
  for (const auto& [name, value] : args.named) {
    size_t i = 0;
    while (i < macro.parameters.size() && macro.parameters[i].name != name) ++i;
    if (i < macro.parameters.size()) {
      if (bound.values[i]) return Fail(absl::StrCat("argument \"", name, "\" is given twice"));
      bound.values[i] = value;
    } else if (name == "caller" && macro.takes_caller) {
      bound.caller = value;
    } else if (macro.takes_kwargs) {
      PREFIXD_ASSIGN_OR_RETURN(const Value key, heap_.NewString(name));
      PREFIXD_RETURN_IF_ERROR(SetEntry(key, value, &heap_, &bound.named));
    } else {
      return Fail(absl::StrCat("macro \"", macro.name, "\" takes no argument \"", name, "\""));
    }
  }
  return bound;
}

absl::StatusOr<Value> Interpreter::CallMacro(const Callable& callable, const Args& args) {
  const Statement& macro = *callable.macro;
  PREFIXD_ASSIGN_OR_RETURN(MacroArguments bound, BindMacro(macro, args));
  if (macro_depth_ >= kMaxNesting) {
    return Fail(absl::StrCat("macros call macros more than ", kMaxNesting, " deep"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Scope* const scope, heap_.NewScope(callable.closure));
  for (size_t i = 0; i < bound.values.size(); ++i) {
    const Statement::Parameter& parameter = macro.parameters[i];
    Value value = bound.values[i].value_or(Value());
    if (!bound.values[i] && parameter.standard != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(value, Eval(*parameter.standard, scope));
    }
    PREFIXD_RETURN_IF_ERROR(SetVariable(scope, parameter.name, value));
  }
  if (macro.takes_caller) PREFIXD_RETURN_IF_ERROR(SetVariable(scope, "caller", bound.caller));
  if (macro.takes_varargs) {
    PREFIXD_ASSIGN_OR_RETURN(const Value list,
                             heap_.NewList(std::move(bound.rest), List::Flavour::kTuple));
    PREFIXD_RETURN_IF_ERROR(SetVariable(scope, "varargs", list));
  }
  if (macro.takes_kwargs) {
    PREFIXD_ASSIGN_OR_RETURN(const Value dict, heap_.NewDict(std::move(bound.named)));
    PREFIXD_RETURN_IF_ERROR(SetVariable(scope, "kwargs", dict));
  }
  ++macro_depth_;
  Text out;
  const absl::Status status = Run(macro.body, scope, &out).status();
  --macro_depth_;
  PREFIXD_RETURN_IF_ERROR(status);
  return heap_.NewText(std::move(out));
}

absl::StatusOr<Value> Interpreter::ApplyFilters(const Expression& e, const Value& input,
                                                Scope* scope) {
  Value subject = input;
  if (e.operands[0] != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(subject, ApplyFilters(*e.operands[0], input, scope));
  }
  PREFIXD_ASSIGN_OR_RETURN(const Args args, EvalArguments(e, scope));
  absl::StatusOr<Value> value = e.callee(*this, subject, args);
  if (!value.ok() && line_ == 0) line_ = e.line;
  return value;
}

absl::StatusOr<Value> Interpreter::Attribute(const Value& subject, absl::string_view name) {
  if (subject.is_undefined()) return Fail("a value is undefined where its content is asked for");
  if (subject.is(Value::Kind::kNamespace)) {
    PREFIXD_RETURN_IF_ERROR(heap_.Charge(subject.space().attributes.size() / 8));
    for (const auto& [attribute, value] : subject.space().attributes) {
      if (attribute == name) return value;
    }
    return Value();
  }
  if (subject.is(Value::Kind::kLoop)) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, LoopAttribute(&subject.loop(), name));
    if (!value.is_undefined()) return value;
  }
  if (const Callee method = FindMethod(subject, name)) {
    return heap_.NewCallable({.callee = method, .subject = subject});
  }
  if (subject.is(Value::Kind::kDict)) {
    const Text key(name);
    PREFIXD_ASSIGN_OR_RETURN(const Value* entry, FindEntry(subject.dict(), Value(&key), &heap_));
    if (entry != nullptr) return *entry;
  }
  return Value();
}

absl::StatusOr<Value> Interpreter::ItemOrAttribute(const Value& subject, const Value& index) {
  PREFIXD_ASSIGN_OR_RETURN(const Value item, Item(subject, index, &heap_));
  if (!item.is_undefined() || !index.is_string()) return item;
  // A dict's entry may be undefined itself; then its methods are not looked for either way.
  if (subject.is(Value::Kind::kDict)) {
    const Callee method = FindMethod(subject, index.view());
    if (method == nullptr) return item;
  }
  return Attribute(subject, index.view());
}

absl::Status Interpreter::Raise(absl::string_view message) {
  raised_ = true;
  return Fail(message);
}

}  // namespace prefixd::jinja
