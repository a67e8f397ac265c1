#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"

namespace prefixd::jinja {

using StatementKind = Statement::Kind;

absl::Status Interpreter::SetVariable(Scope* scope, absl::string_view name, const Value& value) {
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(scope->variables.size() / 8));
  for (auto& [variable, old] : scope->variables) {
    if (variable == name) {
      old = value;
      return absl::OkStatus();
    }
  }
  scope->variables.emplace_back(name, value);
  return absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::Run(const Block& block, Scope* scope, Text* out) {
  absl::StatusOr<Flow> flow = Flow::kNext;
  absl::Status entered = Enter();
  if (!entered.ok()) flow = std::move(entered);
  for (const auto& statement : block) {
    if (!flow.ok() || *flow != Flow::kNext) break;
    flow = RunStatement(*statement, scope, out);
    if (flow.ok()) {
      if (absl::Status fits = heap_.CheckTextSize(out->size()); !fits.ok()) flow = std::move(fits);
    }
    if (!flow.ok() && line_ == 0) line_ = statement->line;
  }
  --depth_;
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunStatement(const Statement& s, Scope* scope,
                                                            Text* out) {
  switch (s.kind) {
    case StatementKind::kText:
      PREFIXD_RETURN_IF_ERROR(heap_.ChargeBytes(s.text.size()));
      PREFIXD_RETURN_IF_ERROR(heap_.CheckTextSize(out->size() + s.text.size()));
      out->Append(s.text);
      return Flow::kNext;
    case StatementKind::kPrint: {
      PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*s.expression, scope));
      PREFIXD_RETURN_IF_ERROR(AppendStr(value, &heap_, out));
      return Flow::kNext;
    }
    case StatementKind::kIf:
      return RunIf(s, scope, out);
    case StatementKind::kFor:
      return RunFor(s, scope, out);
    case StatementKind::kSet: {
      PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*s.expression, scope));
      PREFIXD_RETURN_IF_ERROR(Assign(s.target, value, scope));
      return Flow::kNext;
    }
    case StatementKind::kSetBlock:
      return RunSetBlock(s, scope);
    case StatementKind::kWith:
      return RunWith(s, scope, out);
    case StatementKind::kMacro: {
      PREFIXD_ASSIGN_OR_RETURN(const Value macro,
                               heap_.NewCallable({.macro = &s, .closure = scope}));
      PREFIXD_RETURN_IF_ERROR(SetVariable(scope, s.name, macro));
      return Flow::kNext;
    }
    case StatementKind::kCallBlock:
      return RunCallBlock(s, scope, out);
    case StatementKind::kFilterBlock:
      return RunFilterBlock(s, scope, out);
    case StatementKind::kGroup: {
      PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
      return Run(s.body, inner, out);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Fail("a statement of unknown kind");
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunIf(const Statement& s, Scope* scope, Text* out) {
  for (const Statement::Branch& branch : s.branches) {
    if (branch.condition != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(const Value condition, Eval(*branch.condition, scope));
      if (!IsTrue(condition)) continue;
    }
    return Run(branch.body, scope, out);
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunFor(const Statement& s, Scope* scope, Text* out) {
  PREFIXD_ASSIGN_OR_RETURN(const Value iterable, Eval(*s.expression, scope));
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(4));
  Loop& loop = loops_.emplace_back(Loop{.statement = &s, .outer = scope});
  PREFIXD_ASSIGN_OR_RETURN(loop.items, Items(iterable, &heap_));
  while (true) {
    PREFIXD_ASSIGN_OR_RETURN(const Value* const next, LookAhead(&loop));
    if (next == nullptr) break;
    loop.previous = loop.current;
    loop.current = *next;
    loop.ahead.reset();
    ++loop.index0;
    PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
    PREFIXD_RETURN_IF_ERROR(SetVariable(inner, "loop", Value(&loop)));
    PREFIXD_RETURN_IF_ERROR(Assign(s.target, *loop.current, inner));
    PREFIXD_ASSIGN_OR_RETURN(const Flow flow, Run(s.body, inner, out));
    if (flow == Flow::kBreak) break;
  }
  loop.items = {};
  loop.next = 0;
  if (loop.index0 >= 0 || s.other.empty()) return Flow::kNext;
  PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
  return Run(s.other, inner, out);
}

absl::StatusOr<const Value*> Interpreter::LookAhead(Loop* loop) {
  if (loop->ahead) return &*loop->ahead;
  while (loop->next < loop->items.size()) {
    const Value item = loop->items[loop->next++];
    if (loop->statement->condition != nullptr && !loop->filtered) {
      PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(loop->outer));
      PREFIXD_RETURN_IF_ERROR(Assign(loop->statement->target, item, inner));
      PREFIXD_ASSIGN_OR_RETURN(const Value condition, Eval(*loop->statement->condition, inner));
      if (!IsTrue(condition)) continue;
    }
    loop->ahead = item;
    return &*loop->ahead;
  }
  return nullptr;
}

absl::StatusOr<Value> Interpreter::LoopAttribute(Loop* loop, absl::string_view name) {
  if (name == "index") return Value(loop->index0 + 1);
  if (name == "index0") return Value(loop->index0);
  if (name == "first") return Value(loop->index0 == 0);
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") return loop->previous.value_or(Value());
  if (name == "last" || name == "nextitem") {
    PREFIXD_ASSIGN_OR_RETURN(const Value* const next, LookAhead(loop));
    if (name == "last") return Value(next == nullptr);
    return next == nullptr ? Value() : *next;
  }
  if (name != "length" && name != "revindex" && name != "revindex0") return Value();
  std::vector<Value> rest;  // Everything that is left and passes the condition.
  while (true) {
    PREFIXD_ASSIGN_OR_RETURN(const Value* const next, LookAhead(loop));
    if (next == nullptr) break;
    rest.push_back(*next);
    loop->ahead.reset();
    PREFIXD_RETURN_IF_ERROR(heap_.Charge(1));
  }
  const auto left = static_cast<int64_t>(rest.size());
  loop->items = std::move(rest);
  loop->next = 0;
  loop->filtered = true;
  if (name == "length") return Value(loop->index0 + 1 + left);
  return Value(name == "revindex" ? left + 1 : left);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunSetBlock(const Statement& s, Scope* scope) {
  PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
  Text text;
  PREFIXD_ASSIGN_OR_RETURN(const Flow flow, Run(s.body, inner, &text));
  PREFIXD_ASSIGN_OR_RETURN(Value value, heap_.NewText(std::move(text)));
  if (s.expression != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(value, ApplyFilters(*s.expression, value, scope));
  }
  if (flow == Flow::kNext) PREFIXD_RETURN_IF_ERROR(Assign(s.target, value, scope));
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunWith(const Statement& s, Scope* scope,
                                                       Text* out) {
  PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
  for (const auto& [name, expression] : s.assignments) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, Eval(*expression, scope));
    PREFIXD_RETURN_IF_ERROR(SetVariable(inner, name, value));
  }
  return Run(s.body, inner, out);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunCallBlock(const Statement& s, Scope* scope,
                                                            Text* out) {
  PREFIXD_ASSIGN_OR_RETURN(const Value caller, heap_.NewCallable({.macro = &s, .closure = scope}));
  PREFIXD_ASSIGN_OR_RETURN(const Value value, EvalCall(*s.expression, scope, &caller));
  PREFIXD_RETURN_IF_ERROR(AppendStr(value, &heap_, out));
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunFilterBlock(const Statement& s, Scope* scope,
                                                              Text* out) {
  PREFIXD_ASSIGN_OR_RETURN(Scope* const inner, heap_.NewScope(scope));
  Text text;
  PREFIXD_ASSIGN_OR_RETURN(const Flow flow, Run(s.body, inner, &text));
  PREFIXD_ASSIGN_OR_RETURN(const Value value, heap_.NewText(std::move(text)));
  PREFIXD_ASSIGN_OR_RETURN(const Value filtered, ApplyFilters(*s.expression, value, inner));
  PREFIXD_RETURN_IF_ERROR(AppendStr(filtered, &heap_, out));
  return flow;
}

absl::Status Interpreter::Assign(const Statement::Target& target, const Value& value,
                                 Scope* scope) {
  if (target.is_tuple) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, &heap_));
    if (items.size() != target.parts.size()) {
      return Fail(absl::StrCat(items.size(), " values for ", target.parts.size(), " names"));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      PREFIXD_RETURN_IF_ERROR(Assign(target.parts[i], items[i], scope));
    }
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    return SetVariable(scope, target.name, value);
  }
  PREFIXD_ASSIGN_OR_RETURN(const Value space, Lookup(target.name, scope));
  if (!space.is(Value::Kind::kNamespace)) {
    return Fail(
        absl::StrCat("\"", target.name, "\" is no namespace: its attributes cannot be set"));
  }
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(space.space().attributes.size() / 8));
  for (auto& [attribute, old] : space.space().attributes) {
    if (attribute == target.attribute) {
      old = value;
      return absl::OkStatus();
    }
  }
  PREFIXD_RETURN_IF_ERROR(heap_.Charge(4));
  space.space().attributes.emplace_back(target.attribute, value);
  return absl::OkStatus();
}

}  // namespace prefixd::jinja
