// The tests of `is`.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// A test without arguments.
template <bool (*holds)(const Value&)>
Result Simple(Interpreter&, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("is", args, {}).status());
  return Value(holds(subject));
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsString(const Value& v) { return v.is_string(); }
bool IsNumber(const Value& v) { return v.is_number(); }
bool IsInteger(const Value& v) { return v.is(Value::Kind::kInt); }
bool IsFloat(const Value& v) { return v.is(Value::Kind::kFloat); }
bool IsBoolean(const Value& v) { return v.is(Value::Kind::kBool); }
bool IsTrueItself(const Value& v) { return v.is(Value::Kind::kBool) && v.integer() != 0; }
bool IsFalseItself(const Value& v) { return v.is(Value::Kind::kBool) && v.integer() == 0; }
bool IsMapping(const Value& v) { return v.is(Value::Kind::kDict); }
bool IsCallable(const Value& v) { return v.is(Value::Kind::kCallable); }
bool IsIterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is(Value::Kind::kList) ||
         v.is(Value::Kind::kDict) || v.is(Value::Kind::kLoop);
}
bool IsAnySequence(const Value& v) {
  if (v.is(Value::Kind::kList)) {
    return v.list().flavour != List::Flavour::kView &&
           v.list().flavour != List::Flavour::kGenerator;
  }
  return v.is_undefined() || v.is_string() || v.is(Value::Kind::kDict);
}

// Letters with case are there, all of them of the one case.
Result HasOnlyCase(bool upper, Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind(upper ? "upper" : "lower", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(const Text text, Str(subject, &in.heap()));
  PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(16 * text.size()));
  const Text raised = Upper(text);
  const Text lowered = Lower(text);
  const Text& same = upper ? raised : lowered;
  return Value(text.view() == same.view() && raised.view() != lowered.view());
}
Result IsUpper(Interpreter& in, const Value& subject, const Args& args) {
  return HasOnlyCase(/*upper=*/true, in, subject, args);
}
Result IsLower(Interpreter& in, const Value& subject, const Args& args) {
  return HasOnlyCase(/*upper=*/false, in, subject, args);
}

template <Operator op>
Result Compared(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("is", args, {"other"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const bool holds, Compare(op, subject, bound.at(0), &in.heap()));
  return Value(holds);
}

Result Remainder(Interpreter& in, const Value& subject, int64_t divisor, int64_t wanted) {
  PREFIXD_ASSIGN_OR_RETURN(const Value remainder,
                           Arithmetic(Operator::kModulo, subject, Value(divisor), &in.heap()));
  PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(remainder, Value(wanted), &in.heap()));
  return Value(same);
}
Result IsOdd(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("odd", args, {}).status());
  return Remainder(in, subject, 2, 1);
}
Result IsEven(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("even", args, {}).status());
  return Remainder(in, subject, 2, 0);
}
Result IsDivisibleBy(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("divisibleby", args, {"num"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t divisor, bound.IntegerOr(0, 1));
  return Remainder(in, subject, divisor, 0);
}

constexpr NamedCallee kTests[] = {
    {"defined", Simple<IsDefined>},
    {"undefined", Simple<IsUndefined>},
    {"none", Simple<IsNone>},
    {"string", Simple<IsString>},
    {"number", Simple<IsNumber>},
    {"integer", Simple<IsInteger>},
    {"float", Simple<IsFloat>},
    {"boolean", Simple<IsBoolean>},
    {"true", Simple<IsTrueItself>},
    {"false", Simple<IsFalseItself>},
    {"mapping", Simple<IsMapping>},
    {"callable", Simple<IsCallable>},
    {"iterable", Simple<IsIterable>},
    {"sequence", Simple<IsAnySequence>},
    {"upper", IsUpper},
    {"lower", IsLower},
    {"odd", IsOdd},
    {"even", IsEven},
    {"divisibleby", IsDivisibleBy},
    {"eq", Compared<Operator::kEqual>},
    {"equalto", Compared<Operator::kEqual>},
    {"==", Compared<Operator::kEqual>},
    {"ne", Compared<Operator::kNotEqual>},
    {"!=", Compared<Operator::kNotEqual>},
    {"lt", Compared<Operator::kLess>},
    {"lessthan", Compared<Operator::kLess>},
    {"<", Compared<Operator::kLess>},
    {"le", Compared<Operator::kLessEqual>},
    {"<=", Compared<Operator::kLessEqual>},
    {"gt", Compared<Operator::kGreater>},
    {"greaterthan", Compared<Operator::kGreater>},
    {">", Compared<Operator::kGreater>},
    {"ge", Compared<Operator::kGreaterEqual>},
    {">=", Compared<Operator::kGreaterEqual>},
    {"in", Compared<Operator::kIn>},
};

}  // namespace

absl::Span<const NamedCallee> Tests() { return kTests; }

}  // namespace prefixd::jinja
