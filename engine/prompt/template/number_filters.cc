#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/interpreter.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// A number's text as Python reads it: without white space around and `_` between digits; nothing if
// a `_` stands elsewhere.
std::optional<std::string> Digits(absl::string_view text) {
  const Bounds bounds = Strip(text, nullptr, /*left=*/true, /*right=*/true);
  text = text.substr(bounds.begin, bounds.end - bounds.begin);
  const auto alnum = [&](size_t i) {
    return i < text.size() && absl::ascii_isalnum(static_cast<unsigned char>(text[i]));
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
    } else if (i == 0 || !alnum(i - 1) || !alnum(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<int64_t> ParseInteger(absl::string_view text, int64_t base) {
  const std::optional<std::string> digits = Digits(text);
  if (!digits) return std::nullopt;
  absl::string_view rest = *digits;
  const bool negative = !rest.empty() && rest[0] == '-';
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) rest.remove_prefix(1);
  const char prefix = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
  if (prefix != '\0' && rest.size() > 2 && rest[0] == '0' &&
      absl::ascii_tolower(static_cast<unsigned char>(rest[1])) == prefix) {
    rest.remove_prefix(2);
  }
  if (rest.empty()) return std::nullopt;
  int64_t value = 0;
  for (const char c : rest) {
    const auto byte = static_cast<unsigned char>(c);
    const int64_t digit = absl::ascii_isdigit(byte)   ? c - '0'
                          : absl::ascii_isalpha(byte) ? absl::ascii_tolower(byte) - 'a' + 10
                                                      : base;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value)) return std::nullopt;
    if (__builtin_add_overflow(value, negative ? -digit : digit, &value)) return std::nullopt;
  }
  return value;
}

std::optional<double> ParseReal(absl::string_view text) {
  const std::optional<std::string> digits = Digits(text);
  double real = 0;
  if (!digits || !absl::SimpleAtod(*digits, &real)) return std::nullopt;
  return real;
}

std::optional<double> RealOf(const Value& value) {
  if (value.is_number()) return value.real();
  if (value.is_string()) return ParseReal(value.view());
  return std::nullopt;
}

absl::Status Undefined(absl::string_view filter) {
  return Fail(absl::StrCat(filter, ": the value is undefined"));
}

// Toward zero; nothing for infinities and what is no number.
absl::StatusOr<std::optional<int64_t>> Truncated(std::optional<double> real) {
  if (!real || !std::isfinite(*real)) return std::optional<int64_t>();
  const double whole = std::trunc(*real);
  if (std::abs(whole) >= 9.2e18) return Fail("an integer of more than 64 bits");
  return std::optional<int64_t>(static_cast<int64_t>(whole));
}

Result Int(Interpreter&, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("int", args, {"default", "base"}));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t base, bound.IntegerOr(1, 10));
  if (subject.is_undefined()) return Undefined("int");
  if (base < 2 || base > 36) return Fail("int: the range of base is [2, 36]");
  if (subject.is_integral()) return Value(subject.integer());
  if (subject.is_string()) {
    const std::optional<int64_t> integer = ParseInteger(subject.view(), base);
    if (integer) return Value(*integer);
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> whole, Truncated(RealOf(subject)));
  if (whole) return Value(*whole);
  return bound.has(0) ? bound.at(0) : Value(int64_t{0});
}

Result Float(Interpreter&, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound, Arguments::Bind("float", args, {"default"}));
  if (subject.is_undefined()) return Undefined("float");
  const std::optional<double> real = RealOf(subject);
  if (real) return Value(*real);
  return bound.has(0) ? bound.at(0) : Value(0.0);
}

Result Round(Interpreter&, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("round", args, {"precision", "method"}));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t precision, bound.IntegerOr(0, 0));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const method, bound.TextOrNull(1));
  if (!subject.is_number()) return Fail(absl::StrCat("round: a value of type ", TypeName(subject)));
  if (precision < 0 || precision > 300) return Fail("round: the range of precision is [0, 300]");
  const absl::string_view name = method == nullptr ? "common" : method->view();
  if (name == "ceil" || name == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = subject.real() * scale;
    return Value((name == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (name != "common") return Fail("round: method must be common, ceil or floor");
  if (subject.is_integral()) return Value(subject.integer());
  if (!std::isfinite(subject.real())) return subject;
  // Printing rounds the exact value, ties to even, as Python's round does.
  char buffer[1024];
  std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), subject.real());
  return Value(std::strtod(buffer, nullptr));
}

Result Abs(Interpreter&, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("abs", args, {}).status());
  if (subject.is_integral()) {
    const int64_t integer = subject.integer();
    if (integer == INT64_MIN) return Fail("an integer of more than 64 bits");
    return Value(integer < 0 ? -integer : integer);
  }
  if (subject.is_number()) return Value(std::abs(subject.real()));
  return Fail(absl::StrCat("abs: a value of type ", TypeName(subject)));
}

constexpr NamedCallee kNumberFilters[] = {
    {"int", Int}, {"float", Float}, {"round", Round}, {"abs", Abs}};

}  // namespace

absl::Span<const NamedCallee> NumberFilters() { return kNumberFilters; }

}  // namespace prefixd::jinja
