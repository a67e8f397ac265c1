#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"

namespace prefixd::jinja {

using Kind = Expression::Kind;

namespace {

// How an expression is named in messages.
std::string Describe(const Expression& e) {
  if (e.kind == Kind::kName || e.kind == Kind::kAttribute) return absl::StrCat("\"", e.name, "\"");
  if (e.kind == Kind::kItem && e.operands[1]->value.is_string()) {
    return absl::StrCat("\"", e.operands[1]->value.view().substr(0, 64), "\"");
  }
  return "a value";
}

}  // namespace

absl::StatusOr<Value> Interpreter::Eval(const Expression& e, Scope* scope) {
  const absl::Status entered = Enter();
  absl::StatusOr<Value> value = entered.ok() ? EvalNode(e, scope) : absl::StatusOr<Value>(entered);
  --depth_;
  if (!value.ok() && line_ == 0) line_ = e.line;
  return value;
}

absl::Status Interpreter::Enter() {
  ++depth_;
  if (depth_ > kMaxEvaluationDepth) {
    return Fail(absl::StrCat("more than ", kMaxEvaluationDepth, " levels of evaluation"));
  }
  return heap_.Charge(1);
}

absl::StatusOr<Value> Interpreter::EvalNode(const Expression& e, Scope* scope) {
  switch (e.kind) {
    case Kind::kConstant:
      return e.value;
    case Kind::kName:
      return Lookup(e.name, scope);
    case Kind::kList:
    case Kind::kTuple:
      return EvalSequence(e, scope);
    case Kind::kDict:
      return EvalDict(e, scope);
    case Kind::kUnary: {
      PREFIXD_ASSIGN_OR_RETURN(const Value operand, Eval(*e.operands[0], scope));
      return Unary(e.operators[0], operand);
    }
    case Kind::kChain:
      return EvalChain(e, scope);
    case Kind::kCompare:
      return EvalCompare(e, scope);
    case Kind::kConcatenate:
      return EvalConcatenate(e, scope);
    case Kind::kAnd:
    case Kind::kOr:
      return EvalWords(e, scope);
    case Kind::kConditional:
      return EvalConditional(e, scope);
    case Kind::kAttribute:
    case Kind::kItem:
    case Kind::kSlice:
      return EvalSubscript(e, scope);
    case Kind::kCall:
      return EvalCall(e, scope, /*caller=*/nullptr);
    case Kind::kFilter:
    case Kind::kTest: {
      PREFIXD_ASSIGN_OR_RETURN(const Value subject, Eval(*e.operands[0], scope));
      PREFIXD_ASSIGN_OR_RETURN(const Args args, EvalArguments(e, scope));
      return e.callee(*this, subject, args);
    }
  }
  return Fail("an expression of unknown kind");
}

absl::StatusOr<Value> Interpreter::Lookup(absl::string_view name, const Scope* scope) {
  for (; scope != nullptr; scope = scope->parent) {
    PREFIXD_RETURN_IF_ERROR(heap_.Charge(scope->variables.size() / 8));
    for (const auto& [variable, value] : scope->variables) {
      if (variable == name) return value;
    }
  }
  return Value();
}

absl::StatusOr<Value> Interpreter::EvalSequence(const Expression& e, Scope* scope) {
  std::vector<Value> items;
  for (const ExpressionPtr& operand : e.operands) {
    PREFIXD_ASSIGN_OR_RETURN(const Value item, Eval(*operand, scope));
    items.push_back(item);
  }
  return heap_.NewList(std::move(items),
                       e.kind == Kind::kList ? List::Flavour::kList : List::Flavour::kTuple);
}

absl::StatusOr<Value> Interpreter::EvalDict(const Expression& e, Scope* scope) {
  Dict dict;
  for (size_t i = 0; i + 1 < e.operands.size(); i += 2) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, Eval(*e.operands[i], scope));
    PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*e.operands[i + 1], scope));
    PREFIXD_RETURN_IF_ERROR(SetEntry(key, value, &heap_, &dict));
  }
  return heap_.NewDict(std::move(dict));
}

absl::StatusOr<Value> Interpreter::EvalChain(const Expression& e, Scope* scope) {
  PREFIXD_ASSIGN_OR_RETURN(Value value, Eval(*e.operands[0], scope));
  for (size_t i = 0; i < e.operators.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const Value right, Eval(*e.operands[i + 1], scope));
    if (value.is_undefined()) {
      return Fail(absl::StrCat(Describe(*e.operands[i]), " is undefined"));
    }
    if (right.is_undefined()) {
      return Fail(absl::StrCat(Describe(*e.operands[i + 1]), " is undefined"));
    }
    PREFIXD_ASSIGN_OR_RETURN(value, Arithmetic(e.operators[i], value, right, &heap_));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvalCompare(const Expression& e, Scope* scope) {
  PREFIXD_ASSIGN_OR_RETURN(Value left, Eval(*e.operands[0], scope));
  for (size_t i = 0; i < e.operators.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const Value right, Eval(*e.operands[i + 1], scope));
    PREFIXD_ASSIGN_OR_RETURN(const bool holds, Compare(e.operators[i], left, right, &heap_));
    if (!holds) return Value(false);
    left = right;
  }
  return Value(true);
}

absl::StatusOr<Value> Interpreter::EvalConcatenate(const Expression& e, Scope* scope) {
  Text out;
  for (const ExpressionPtr& operand : e.operands) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*operand, scope));
    PREFIXD_RETURN_IF_ERROR(AppendStr(value, &heap_, &out));
  }
  return heap_.NewText(std::move(out));
}

// The first operand that decides, else the last one.
absl::StatusOr<Value> Interpreter::EvalWords(const Expression& e, Scope* scope) {
  Value value;
  for (const ExpressionPtr& operand : e.operands) {
    PREFIXD_ASSIGN_OR_RETURN(value, Eval(*operand, scope));
    if (IsTrue(value) == (e.kind == Kind::kOr)) return value;
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvalConditional(const Expression& e, Scope* scope) {
  PREFIXD_ASSIGN_OR_RETURN(const Value condition, Eval(*e.operands[0], scope));
  if (IsTrue(condition)) return Eval(*e.operands[1], scope);
  if (e.operands.size() < 3) return Value();
  return Eval(*e.operands[2], scope);
}

absl::StatusOr<Value> Interpreter::EvalSubscript(const Expression& e, Scope* scope) {
  PREFIXD_ASSIGN_OR_RETURN(const Value subject, Eval(*e.operands[0], scope));
  Value parts[3];
  for (size_t i = 1; i < e.operands.size(); ++i) {
    if (e.operands[i] == nullptr) continue;
    PREFIXD_ASSIGN_OR_RETURN(parts[i - 1], Eval(*e.operands[i], scope));
  }
  if (subject.is_undefined()) return Fail(absl::StrCat(Describe(*e.operands[0]), " is undefined"));
  if (e.kind == Kind::kAttribute) return Attribute(subject, e.name);
  if (e.kind == Kind::kItem) return ItemOrAttribute(subject, parts[0]);
  return Slice(subject, parts[0], parts[1], parts[2], &heap_);
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

absl::StatusOr<Value> Interpreter::CallMacro(const Callable& callable, const Args& args) {
  const Statement& macro = *callable.macro;
  PREFIXD_ASSIGN_OR_RETURN(Scope* const scope, heap_.NewScope(callable.closure));
  std::vector<Value> rest;
  Dict named;
  std::vector<bool> given(macro.parameters.size());
  std::vector<Value> values(macro.parameters.size());
  for (size_t i = 0; i < args.positional.size(); ++i) {
    if (i >= values.size()) {
      rest.push_back(args.positional[i]);
      continue;
    }
    values[i] = args.positional[i];
    given[i] = true;
  }
  if (!rest.empty() && !macro.takes_varargs) {
    return Fail(absl::StrCat("macro \"", macro.name, "\" takes ", macro.parameters.size(),
                             " arguments, not ", args.positional.size()));
  }
  Value caller;
  for (const auto& [name, value] : args.named) {
    size_t i = 0;
    while (i < macro.parameters.size() && macro.parameters[i].name != name) ++i;
    if (i < macro.parameters.size()) {
      if (given[i]) return Fail(absl::StrCat("argument \"", name, "\" is given twice"));
      values[i] = value;
      given[i] = true;
    } else if (name == "caller" && macro.takes_caller) {
      caller = value;
    } else if (macro.takes_kwargs) {
      PREFIXD_ASSIGN_OR_RETURN(const Value key, heap_.NewString(name));
      PREFIXD_RETURN_IF_ERROR(SetEntry(key, value, &heap_, &named));
    } else {
      return Fail(absl::StrCat("macro \"", macro.name, "\" takes no argument \"", name, "\""));
    }
  }
  if (macro_depth_ >= kMaxNesting) {
    return Fail(absl::StrCat("macros call macros more than ", kMaxNesting, " deep"));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const Statement::Parameter& parameter = macro.parameters[i];
    if (!given[i] && parameter.standard != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(values[i], Eval(*parameter.standard, scope));
    }
    PREFIXD_RETURN_IF_ERROR(SetVariable(scope, parameter.name, values[i]));
  }
  if (macro.takes_caller) PREFIXD_RETURN_IF_ERROR(SetVariable(scope, "caller", caller));
  if (macro.takes_varargs) {
    PREFIXD_ASSIGN_OR_RETURN(const Value list,
                             heap_.NewList(std::move(rest), List::Flavour::kTuple));
    PREFIXD_RETURN_IF_ERROR(SetVariable(scope, "varargs", list));
  }
  if (macro.takes_kwargs) {
    PREFIXD_ASSIGN_OR_RETURN(const Value dict, heap_.NewDict(std::move(named)));
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
