// Arguments of a filter, test, method or function, by the names of its parameters. A value.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_ARGUMENTS_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_ARGUMENTS_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

class Arguments {
 public:
  // Binds `args` to `parameters`, of which the first `required` must be given. `callee` is for the
  // messages. Errors: INVALID_ARGUMENT for too many, missing, unknown or doubled ones.
  static absl::StatusOr<Arguments> Bind(absl::string_view callee, const Args& args,
                                        absl::Span<const absl::string_view> parameters,
                                        size_t required = 0);

  // Requires: index < parameters.
  bool has(size_t index) const { return values_[index].has_value(); }
  // The argument, or undefined.
  Value at(size_t index) const { return values_[index].value_or(Value()); }
  // Whether the argument is given and true.
  bool flag(size_t index) const { return has(index) && IsTrue(*values_[index]); }

  // Errors: INVALID_ARGUMENT if it is given and of another type.
  absl::StatusOr<int64_t> IntegerOr(size_t index, int64_t standard) const;
  // Null if it is absent or none.
  absl::StatusOr<const Text*> TextOrNull(size_t index) const;
  // Requires: it was required.
  absl::StatusOr<const Text*> TextAt(size_t index) const;

 private:
  absl::Status WrongType(size_t index, absl::string_view wanted) const;

  absl::string_view callee_;
  std::vector<absl::string_view> parameters_;
  std::vector<std::optional<Value>> values_;
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_ARGUMENTS_H_
