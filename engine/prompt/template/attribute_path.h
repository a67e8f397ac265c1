// What `attribute=` of a filter names: "a.b.0", or an index. Immutable; one render, one thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_ATTRIBUTE_PATH_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_ATTRIBUTE_PATH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

class AttributePath {
 public:
  // `attribute` is a string or an integer; undefined or none: every value is its own. With
  // `ignore_case` a string that is found becomes lower case. Errors: INVALID_ARGUMENT.
  static absl::StatusOr<AttributePath> Create(const Value& attribute, Interpreter* interpreter,
                                              bool ignore_case = false);

  // What `value` has there. Where it is undefined, `standard` (if not null) stands in. Errors:
  // INVALID_ARGUMENT if a part on the way is undefined.
  absl::StatusOr<Value> Of(const Value& value, const Value* standard = nullptr) const;

 private:
  explicit AttributePath(Interpreter* interpreter) : interpreter_(interpreter) {}

  Interpreter* interpreter_;
  std::vector<Value> parts_;
  bool ignore_case_ = false;
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_ATTRIBUTE_PATH_H_
