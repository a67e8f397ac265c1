// A parsed template. Immutable after parsing; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_AST_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kNegate,
  kPlus,
  kNot,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression {
  enum class Kind {
    kConstant,     // value.
    kName,         // name.
    kList,         // operands.
    kTuple,        // operands.
    kDict,         // operands: key, value, key, value, ...
    kUnary,        // operators[0], operands[0].
    kChain,        // operands[0] operators[0] operands[1] ..., from the left.
    kCompare,      // As kChain: a < b < c.
    kConcatenate,  // operands joined as strings.
    kAnd,          // operands.
    kOr,           // operands.
    kConditional,  // operands: condition, value, other value (may be absent).
    kAttribute,    // operands[0] . name.
    kItem,         // operands[0] [operands[1]].
    kSlice,        // operands[0] [operands[1]:operands[2]:operands[3]]; absent ones are null.
    kCall,         // operands[0](operands[1..]; named).
    kFilter,       // operands[0] | callee(operands[1..]; named). The first is null in a block.
    kTest,         // operands[0] is callee(operands[1..]; named).
  };
  Kind kind = Kind::kConstant;
  int line = 0;
  int depth = 1;  // Of the tree below, itself included.
  Value value;
  Text text;  // What `value` names, for a string.
  std::string name;
  Callee callee = nullptr;
  std::vector<Operator> operators;
  std::vector<ExpressionPtr> operands;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Statement;
using Block = std::vector<std::unique_ptr<const Statement>>;

struct Statement {
  enum class Kind {
    kText,         // text.
    kPrint,        // expression.
    kIf,           // branches; the last one's condition may be null (else).
    kFor,          // target in expression if condition: body; otherwise: other.
    kSet,          // target = expression.
    kSetBlock,     // name = body | expression (which may be null).
    kWith,         // assignments: body.
    kMacro,        // name(parameters): body.
    kCallBlock,    // expression is a call, caller(parameters) is the body.
    kFilterBlock,  // body | expression.
    kGroup,        // body, with variables of its own (generation).
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr condition;
    Block body;
  };
  // What is assigned to: a name, an attribute of a namespace, or several of them.
  struct Target {
    std::string name;
    std::string attribute;      // Empty: the name itself.
    std::vector<Target> parts;  // Not empty: unpacks.
    bool is_tuple = false;
  };
  struct Parameter {
    std::string name;
    ExpressionPtr standard;  // Default; null: undefined.
  };

  Kind kind = Kind::kText;
  int line = 0;
  Text text;
  std::string name;
  Target target;
  ExpressionPtr expression, condition;
  Block body, other;
  std::vector<Branch> branches;
  std::vector<std::pair<std::string, ExpressionPtr>> assignments;
  std::vector<Parameter> parameters;
  // Whether a macro's body names `varargs`, `kwargs`, `caller`: only then it takes them.
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_AST_H_
