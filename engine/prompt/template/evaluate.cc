#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"

namespace prefixd::jinja {

using Kind = Expression::Kind;

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

}  // namespace prefixd::jinja
