#include "engine/prompt/template/arguments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/prompt/template/heap.h"

namespace prefixd::jinja {

absl::StatusOr<Arguments> Arguments::Bind(absl::string_view callee, const Args& args,
                                          absl::Span<const absl::string_view> parameters,
                                          size_t required) {
  Arguments bound;
  bound.callee_ = callee;
  bound.parameters_.assign(parameters.begin(), parameters.end());
  bound.values_.resize(parameters.size());
  if (args.positional.size() > parameters.size()) {
    return Fail(absl::StrCat(callee, ": ", args.positional.size(), " arguments, it takes ",
                             parameters.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) bound.values_[i] = args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) {
      return Fail(absl::StrCat(callee, ": there is no argument \"", name, "\""));
    }
    std::optional<Value>& slot = bound.values_[static_cast<size_t>(found - parameters.begin())];
    if (slot) return Fail(absl::StrCat(callee, ": argument \"", name, "\" is given twice"));
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound.values_[i]) continue;
    return Fail(absl::StrCat(callee, ": argument \"", parameters[i], "\" is missing"));
  }
  return bound;
}

absl::Status Arguments::WrongType(size_t index, absl::string_view wanted) const {
  return Fail(absl::StrCat(callee_, ": argument \"", parameters_[index], "\" is of type ",
                           TypeName(at(index)), ", not ", wanted));
}

absl::StatusOr<int64_t> Arguments::IntegerOr(size_t index, int64_t standard) const {
  if (!has(index)) return standard;
  if (!at(index).is_integral()) return WrongType(index, "int");
  return at(index).integer();
}

absl::StatusOr<const Text*> Arguments::TextOrNull(size_t index) const {
  if (!has(index) || at(index).is_none()) return nullptr;
  return TextAt(index);
}

absl::StatusOr<const Text*> Arguments::TextAt(size_t index) const {
  if (!at(index).is_string()) return WrongType(index, "str");
  return &at(index).text();
}

}  // namespace prefixd::jinja
