// What a template computes with. Values are small and copied freely; strings and containers lie in
// the Heap of their render (or in the parsed template) and outlive every value that names them.
// Nothing but namespaces, generators and loops ever changes.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_VALUE_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_VALUE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/prompt/template/text.h"

namespace prefixd::jinja {

class Interpreter;
class Value;
struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;
struct Scope;
struct Statement;

// Arguments of a call.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<absl::string_view, Value>> named;
};

// A filter, test, method or function. `subject` is what stands before it. Errors: INVALID_ARGUMENT
// without a position; whoever evaluates the call adds the line.
using Callee = absl::StatusOr<Value> (*)(Interpreter& interpreter, const Value& subject,
                                         const Args& args);

class Value {
 public:
  enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,  // Whatever has items in order; see List::Flavour.
    kDict,
    kNamespace,
    kCallable,
    kLoop,
  };

  Value() = default;  // Undefined.
  static Value None() {
    Value value;
    value.kind_ = Kind::kNone;
    return value;
  }
  explicit Value(bool flag) : kind_(Kind::kBool), integer_(flag ? 1 : 0) {}
  explicit Value(int64_t integer) : kind_(Kind::kInt), integer_(integer) {}
  explicit Value(double real) : kind_(Kind::kFloat), real_(real) {}
  explicit Value(const Text* text) : kind_(Kind::kString), text_(text) {}
  explicit Value(List* list) : kind_(Kind::kList), list_(list) {}
  explicit Value(const Dict* dict) : kind_(Kind::kDict), dict_(dict) {}
  explicit Value(Namespace* space) : kind_(Kind::kNamespace), space_(space) {}
  explicit Value(const Callable* callable) : kind_(Kind::kCallable), callable_(callable) {}
  explicit Value(Loop* loop) : kind_(Kind::kLoop), loop_(loop) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_number() const {
    return kind_ == Kind::kBool || kind_ == Kind::kInt || kind_ == Kind::kFloat;
  }
  // A bool or an int: what Python takes as an integer.
  bool is_integral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }

  // Require the kind that they name; integer() takes bools, real() every number.
  int64_t integer() const { return integer_; }
  double real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const Text& text() const { return *text_; }
  absl::string_view view() const { return text_->view(); }
  List& list() const { return *list_; }
  const Dict& dict() const { return *dict_; }
  Namespace& space() const { return *space_; }
  const Callable& callable() const { return *callable_; }
  Loop& loop() const { return *loop_; }

 private:
  Kind kind_ = Kind::kUndefined;
  union {
    int64_t integer_ = 0;
    double real_;
    const Text* text_;
    List* list_;
    const Dict* dict_;
    Namespace* space_;
    const Callable* callable_;
    Loop* loop_;
  };
};

struct List {
  enum class Flavour : uint8_t {
    kList,
    kTuple,
    kRange,
    kView,       // Of a dict: has a length, takes no index.
    kGenerator,  // Gives each item once; neither length nor index.
  };
  Flavour flavour = Flavour::kList;
  std::vector<Value> items;
  size_t taken = 0;  // Items that a generator has given.
};

// In the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Callable {
  Callee callee = nullptr;           // A function or bound method; null: a macro.
  Value subject;                     // What a bound method belongs to.
  const Statement* macro = nullptr;  // A macro, or the body of a call block.
  Scope* closure = nullptr;
};

bool IsTrue(const Value& value);
// Python's name of the type, for messages.
absl::string_view TypeName(const Value& value);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_VALUE_H_
