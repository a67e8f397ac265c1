// How the values of options are spelled; the functions are declared in option_table.h.
#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked_math.h"
#include "server/option_table.h"

namespace prefixd {
namespace {

struct Unit {
  absl::string_view name;
  uint64_t factor;
};
// Ascending; the last that divides a value spells it.
constexpr Unit kByteUnits[] = {
    {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};
constexpr Unit kTimeUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};

absl::Status Bad(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("`", text.substr(0, 128), "` ", why));
}

bool OnlyDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// Reads `32MiB` or `60s`. Returns nullopt if the number or the unit is not one.
std::optional<uint64_t> ParseWithUnit(absl::string_view text, absl::Span<const Unit> units) {
  const size_t end = text.find_first_not_of("0123456789");
  if (end == absl::string_view::npos || end == 0) return std::nullopt;
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text.substr(0, end), &number)) return std::nullopt;
  for (const Unit& unit : units) {
    if (text.substr(end) == unit.name) return CheckedMul(number, unit.factor);
  }
  return std::nullopt;
}

std::string FormatWithUnit(uint64_t value, absl::Span<const Unit> units) {
  const Unit* best = &units[0];
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) best = &unit;
  }
  return absl::StrCat(value / best->factor, best->name);
}

// The value of a numeric option in the unit of its range.
std::string FormatNumber(const OptionSpec& spec, int64_t value) {
  if (value == 0 && !spec.zero_word.empty()) return std::string(spec.zero_word);
  if (std::holds_alternative<uint64_t& (*)(ServerOptions&)>(spec.field)) {
    return FormatWithUnit(static_cast<uint64_t>(value), kByteUnits);
  }
  if (std::holds_alternative<absl::Duration& (*)(ServerOptions&)>(spec.field)) {
    if (value == 0) return "0s";
    return FormatWithUnit(static_cast<uint64_t>(value), kTimeUnits);
  }
  return absl::StrCat(value);
}

// The shortest decimal that reads back as `value`, without exponent.
std::string FormatDecimal(double value) {
  char text[512];  // The longest double in this form has fewer characters.
  const auto end = std::to_chars(text, text + sizeof(text), value, std::chars_format::fixed).ptr;
  return std::string(text, end);
}

// Reads `0.25`: digits, and a point with digits after it.
std::optional<double> ParseDecimal(absl::string_view text) {
  const size_t point = text.find('.');
  double value = 0;
  if (text.size() > 32 || !OnlyDigits(text.substr(0, point)) ||
      (point != absl::string_view::npos && !OnlyDigits(text.substr(point + 1))) ||
      !absl::SimpleAtod(text, &value)) {
    return std::nullopt;
  }
  return value;
}

absl::Status SetDecimal(const OptionSpec& spec, absl::string_view text, double* field) {
  const std::optional<double> value = ParseDecimal(text);
  if (!value) {
    return Bad(text, absl::StrCat("is not a decimal such as 0.25; the range is ", spec.Range()));
  }
  if (*value < spec.low || *value > spec.high) {
    return Bad(text, absl::StrCat("is outside the range ", spec.Range()));
  }
  *field = *value;
  return absl::OkStatus();
}

// Reads a whole number, below zero only if the range has such.
std::optional<int64_t> ParseWhole(const OptionSpec& spec, absl::string_view text) {
  absl::string_view digits = text;
  if (spec.min < 0 && !digits.empty() && digits.front() == '-') digits.remove_prefix(1);
  int64_t number = 0;
  if (!OnlyDigits(digits) || !absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

// Parses a numeric option's text and checks its range.
absl::StatusOr<int64_t> ParseNumber(const OptionSpec& spec, absl::string_view text) {
  if (!spec.zero_word.empty() && text == spec.zero_word) return 0;
  std::optional<int64_t> value;
  const auto take = [&](std::optional<uint64_t> number) {
    // What is too large for the range is too large for it as INT64_MAX, too.
    if (number) value = static_cast<int64_t>(std::min<uint64_t>(*number, INT64_MAX));
  };
  absl::string_view form;
  if (std::holds_alternative<int32_t& (*)(ServerOptions&)>(spec.field)) {
    form = "is not a whole number";
    value = ParseWhole(spec, text);
  } else if (std::holds_alternative<uint64_t& (*)(ServerOptions&)>(spec.field)) {
    form = "is not a size such as 32MiB (units B, KiB, MiB, GiB, TiB)";
    take(ParseWithUnit(text, kByteUnits));
  } else {
    form = "is not a duration such as 60s (units ms, s, m, h)";
    take(ParseWithUnit(text, kTimeUnits));
  }
  if (!value) return Bad(text, absl::StrCat(form, "; the range is ", spec.Range()));
  if (*value < spec.min || *value > spec.max) {
    return Bad(text, absl::StrCat("is outside the range ", spec.Range()));
  }
  return *value;
}

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string OptionSpec::TypeName() const {
  switch (field.index()) {
    case 1:
      return "boolean";
    case 2:
      return "integer";
    case 3:
      return "bytes";
    case 4:
      return "duration";
    case 5:
      return "number";
    default:
      return "string";
  }
}

std::string OptionSpec::Range() const {
  if (!choices.empty()) return absl::StrJoin(choices, ", ");
  if (std::holds_alternative<std::string& (*)(ServerOptions&)>(field)) return "";
  if (std::holds_alternative<bool& (*)(ServerOptions&)>(field)) return "true, false";
  if (std::holds_alternative<double& (*)(ServerOptions&)>(field)) {
    return absl::StrCat("[", FormatDecimal(low), ", ", FormatDecimal(high), "]");
  }
  return absl::StrCat("[", FormatNumber(*this, min), ", ", FormatNumber(*this, max), "]",
                      zero_word.empty() ? "" : absl::StrCat(" or ", zero_word));
}

absl::Status SetOption(const OptionSpec& spec, absl::string_view text, ServerOptions* options) {
  if (text.empty()) return absl::InvalidArgumentError("the value is empty");
  if (const auto* field = std::get_if<std::string& (*)(ServerOptions&)>(&spec.field)) {
    if (text.size() > 4096 || absl::StrContains(text, absl::string_view("\0", 1))) {
      return absl::InvalidArgumentError("the text is longer than 4096 bytes or holds a NUL byte");
    }
    if (!spec.choices.empty() &&
        std::find(spec.choices.begin(), spec.choices.end(), text) == spec.choices.end()) {
      return Bad(text, absl::StrCat("is none of ", spec.Range()));
    }
    (*field)(*options) = std::string(text);
    return absl::OkStatus();
  }
  if (const auto* field = std::get_if<bool& (*)(ServerOptions&)>(&spec.field)) {
    if (text != "true" && text != "false") return Bad(text, "is neither true nor false");
    (*field)(*options) = text == "true";
    return absl::OkStatus();
  }
  if (const auto* field = std::get_if<double& (*)(ServerOptions&)>(&spec.field)) {
    return SetDecimal(spec, text, &(*field)(*options));
  }
  const absl::StatusOr<int64_t> value = ParseNumber(spec, text);
  if (!value.ok()) return value.status();
  if (const auto* field = std::get_if<int32_t& (*)(ServerOptions&)>(&spec.field)) {
    (*field)(*options) = static_cast<int32_t>(*value);
  } else if (const auto* field = std::get_if<uint64_t& (*)(ServerOptions&)>(&spec.field)) {
    (*field)(*options) = static_cast<uint64_t>(*value);
  } else {
    std::get<absl::Duration& (*)(ServerOptions&)>(spec.field)(*options) =
        absl::Milliseconds(*value);
  }
  return absl::OkStatus();
}

std::string FormatOption(const OptionSpec& spec, const ServerOptions& options) {
  // The accessors take a mutable reference; nothing is written through it here.
  ServerOptions& fields = const_cast<ServerOptions&>(options);
  switch (spec.field.index()) {
    case 0:
      return std::get<0>(spec.field)(fields);
    case 1:
      return std::get<1>(spec.field)(fields) ? "true" : "false";
    case 2:
      return FormatNumber(spec, std::get<2>(spec.field)(fields));
    case 3:
      return FormatNumber(spec, static_cast<int64_t>(std::get<3>(spec.field)(fields)));
    case 4:
      return FormatNumber(spec, absl::ToInt64Milliseconds(std::get<4>(spec.field)(fields)));
    default:
      return FormatDecimal(std::get<5>(spec.field)(fields));
  }
}

std::string ClosestName(absl::string_view text, absl::Span<const std::string> candidates) {
  std::string best;
  int best_distance = 3;
  if (text.size() > 64) return best;
  for (const std::string& candidate : candidates) {
    const int distance = EditDistance(text, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace prefixd
