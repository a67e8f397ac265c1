// Evaluates a parsed template, once. Single-threaded; the template is shared and does not change.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_INTERPRETER_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_INTERPRETER_H_

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/prompt/template/ast.h"
#include "engine/prompt/template/heap.h"
#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

// What `loop` names in the body of a for. Items are filtered only as the loop comes to them, or
// looks ahead (loop.last, loop.nextitem, loop.length).
struct Loop {
  const Statement* statement = nullptr;
  Scope* outer = nullptr;
  std::vector<Value> items;
  size_t next = 0;             // Of `items`.
  bool filtered = false;       // What is left of `items` has passed the condition.
  std::optional<Value> ahead;  // Taken from `items` already.
  int64_t index0 = -1;
  std::optional<Value> previous, current;
  std::optional<Value> changed;  // Arguments of the last call of loop.changed.
};

class Interpreter {
 public:
  enum class Flow { kNext, kBreak, kContinue };

  Interpreter(uint64_t max_output_bytes, absl::Time now) : heap_(max_output_bytes), now_(now) {}

  Heap& heap() { return heap_; }
  absl::Time now() const { return now_; }

  // Errors of all below: INVALID_ARGUMENT. Where the first one arose: line().
  absl::StatusOr<Flow> Run(const Block& block, Scope* scope, Text* out);
  absl::StatusOr<Value> Eval(const Expression& expression, Scope* scope);
  absl::StatusOr<Value> Call(const Value& callee, const Args& args);

  // a.name, a[name]: undefined if there is no such thing.
  absl::StatusOr<Value> Attribute(const Value& subject, absl::string_view name);
  absl::StatusOr<Value> ItemOrAttribute(const Value& subject, const Value& index);

  // The next item that passes the loop's condition, not yet taken; null at the end.
  absl::StatusOr<const Value*> LookAhead(Loop* loop);

  // `name` outlives the render.
  absl::Status SetVariable(Scope* scope, absl::string_view name, const Value& value);

  int line() const { return line_; }

  // The error that raise_exception makes: its message is the caller's, without a line.
  absl::Status Raise(absl::string_view message);
  bool raised() const { return raised_; }

 private:
  // Counts a step and a level of evaluation; `depth_` is to be decreased whatever it returns.
  // Errors: INVALID_ARGUMENT if there are too many.
  absl::Status Enter();

  absl::StatusOr<Value> EvalNode(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalSequence(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalDict(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalChain(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalCompare(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalConcatenate(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalWords(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalConditional(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalSubscript(const Expression& e, Scope* scope);
  absl::StatusOr<Value> EvalCall(const Expression& e, Scope* scope, const Value* caller);
  absl::StatusOr<Args> EvalArguments(const Expression& e, Scope* scope);
  absl::StatusOr<Value> ApplyFilters(const Expression& e, const Value& input, Scope* scope);
  absl::StatusOr<Value> Lookup(absl::string_view name, const Scope* scope);
  absl::StatusOr<Value> LoopAttribute(Loop* loop, absl::string_view name);

  absl::StatusOr<Flow> RunStatement(const Statement& s, Scope* scope, Text* out);
  absl::StatusOr<Flow> RunIf(const Statement& s, Scope* scope, Text* out);
  absl::StatusOr<Flow> RunFor(const Statement& s, Scope* scope, Text* out);
  absl::StatusOr<Flow> RunSetBlock(const Statement& s, Scope* scope);
  absl::StatusOr<Flow> RunWith(const Statement& s, Scope* scope, Text* out);
  absl::StatusOr<Flow> RunCallBlock(const Statement& s, Scope* scope, Text* out);
  absl::StatusOr<Flow> RunFilterBlock(const Statement& s, Scope* scope, Text* out);
  absl::Status Assign(const Statement::Target& target, const Value& value, Scope* scope);

  // Arguments of a macro, in the order of its parameters.
  struct MacroArguments {
    std::vector<std::optional<Value>> values;
    std::vector<Value> rest;  // varargs.
    Dict named;               // kwargs.
    Value caller;
  };
  absl::StatusOr<MacroArguments> BindMacro(const Statement& macro, const Args& args);
  absl::StatusOr<Value> CallMacro(const Callable& callable, const Args& args);

  Heap heap_;
  std::deque<Loop> loops_;  // Kept until the end: a namespace may hold one.
  const absl::Time now_;
  int depth_ = 0;        // Levels of evaluation.
  int macro_depth_ = 0;  // Macros in macros.
  int line_ = 0;         // Of the first error; 0: none.
  bool raised_ = false;
};

// How an expression is named in messages.
std::string Describe(const Expression& e);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_INTERPRETER_H_
