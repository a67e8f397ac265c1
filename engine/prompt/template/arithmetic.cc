#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {
namespace {

absl::Status TooLarge() { return Fail("an integer of more than 64 bits"); }

absl::Status WrongTypes(Operator op, const Value& a, const Value& b) {
  constexpr const char* kNames[] = {"+", "-", "*", "/", "//", "%", "**"};
  if (a.is_undefined() || b.is_undefined()) {
    return Fail(absl::StrCat("an operand of ", kNames[static_cast<int>(op)], " is undefined"));
  }
  return Fail(absl::StrCat("values of type ", TypeName(a), " and ", TypeName(b), " do not go with ",
                           kNames[static_cast<int>(op)]));
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return Fail("division by zero");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (int64_t i = 0; i < exponent; ++i) {  // Ends within 63 steps: |base| is at least 2.
    if (__builtin_mul_overflow(result, base, &result)) return TooLarge();
  }
  return Value(result);
}

absl::StatusOr<Value> OfIntegers(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kPower:
      return IntegerPower(a, b);
    default:
      break;
  }
  if (b == 0) return Fail("division by zero");
  if (op == Operator::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // The one quotient that may not fit.
    if (op == Operator::kModulo) return Value(int64_t{0});
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) return TooLarge();
    return Value(result);
  }
  const int64_t remainder = a % b;
  const bool below = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == Operator::kModulo) return Value(below ? remainder + b : remainder);
  return Value(a / b - (below ? 1 : 0));
}

absl::StatusOr<Value> OfReals(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kPower: {
      if (a == 0 && b < 0) return Fail("division by zero");
      const double power = std::pow(a, b);
      if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) return Fail("a complex number");
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b))
        return Fail("number too large");
      return Value(power);
    }
    default:
      break;
  }
  if (b == 0) return Fail("division by zero");
  if (op == Operator::kDivide) return Value(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (remainder == 0) remainder = std::copysign(0.0, b);
  if (op == Operator::kModulo) return Value(remainder);
  const double quotient = (a - remainder) / b;
  const double floored = std::floor(quotient);
  return Value(quotient - floored > 0.5 ? floored + 1 : floored);
}

absl::StatusOr<Value> Repeat(const Value& sequence, int64_t count, Heap* heap) {
  const auto times = static_cast<uint64_t>(count < 0 ? 0 : count);
  const uint64_t size =
      sequence.is_string() ? sequence.text().size() : sequence.list().items.size();
  uint64_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = UINT64_MAX;
  if (sequence.is_string()) {
    PREFIXD_RETURN_IF_ERROR(heap->CheckTextSize(total));
    Text out;
    for (uint64_t i = 0; size > 0 && i < times; ++i) out.Append(sequence.text());
    return heap->NewText(std::move(out));
  }
  PREFIXD_RETURN_IF_ERROR(heap->CheckItems(total));
  std::vector<Value> items;
  for (uint64_t i = 0; size > 0 && i < times; ++i) {
    items.insert(items.end(), sequence.list().items.begin(), sequence.list().items.end());
  }
  return heap->NewList(std::move(items), sequence.list().flavour);
}

bool IsSequence(const Value& value) {
  return value.is_string() ||
         (value.is(Value::Kind::kList) && (value.list().flavour == List::Flavour::kList ||
                                           value.list().flavour == List::Flavour::kTuple));
}

absl::StatusOr<Value> Joined(const Value& a, const Value& b, Heap* heap) {
  if (a.is_string()) {
    PREFIXD_RETURN_IF_ERROR(heap->CheckTextSize(a.text().size() + b.text().size()));
    Text out = a.text();
    out.Append(b.text());
    return heap->NewText(std::move(out));
  }
  std::vector<Value> items = a.list().items;
  items.insert(items.end(), b.list().items.begin(), b.list().items.end());
  return heap->NewList(std::move(items), a.list().flavour);
}

}  // namespace

absl::StatusOr<Value> Arithmetic(Operator op, const Value& a, const Value& b, Heap* heap) {
  if (a.is_integral() && b.is_integral()) return OfIntegers(op, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return OfReals(op, a.real(), b.real());
  if (op == Operator::kMultiply) {
    if (IsSequence(a) && b.is_integral()) return Repeat(a, b.integer(), heap);
    if (IsSequence(b) && a.is_integral()) return Repeat(b, a.integer(), heap);
  }
  const bool alike = IsSequence(a) && a.kind() == b.kind() &&
                     (a.is_string() || a.list().flavour == b.list().flavour);
  if (op == Operator::kAdd && alike) return Joined(a, b, heap);
  return WrongTypes(op, a, b);
}

absl::StatusOr<Value> Unary(Operator op, const Value& operand) {
  if (op == Operator::kNot) return Value(!IsTrue(operand));
  if (operand.is_integral()) {
    int64_t result = operand.integer();
    if (op == Operator::kNegate && __builtin_sub_overflow(int64_t{0}, result, &result)) {
      return TooLarge();
    }
    return Value(result);
  }
  if (operand.is_number()) return Value(op == Operator::kNegate ? -operand.real() : operand.real());
  if (operand.is_undefined()) return Fail("the operand of a sign is undefined");
  return Fail(absl::StrCat("a value of type ", TypeName(operand), " takes no sign"));
}

}  // namespace prefixd::jinja
