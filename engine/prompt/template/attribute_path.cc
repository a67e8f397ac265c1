#include "engine/prompt/template/attribute_path.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/limits.h"

namespace prefixd::jinja {

absl::StatusOr<AttributePath> AttributePath::Create(const Value& attribute,
                                                    Interpreter* interpreter, bool ignore_case) {
  AttributePath path(interpreter);
  path.ignore_case_ = ignore_case;
  if (attribute.is_undefined() || attribute.is_none()) return path;
  if (attribute.is_integral()) {
    path.parts_.push_back(attribute);
    return path;
  }
  if (!attribute.is_string()) {
    return Fail(absl::StrCat("an attribute of type ", TypeName(attribute)));
  }
  if (attribute.text().size() > kMaxSearchBytes)
    return Fail("the name of an attribute is too long");
  for (const absl::string_view part : absl::StrSplit(attribute.view(), '.')) {
    int64_t index = 0;
    if (part.find_first_not_of("0123456789") == absl::string_view::npos &&
        absl::SimpleAtoi(part, &index)) {
      path.parts_.push_back(Value(index));
      continue;
    }
    PREFIXD_ASSIGN_OR_RETURN(const Value name, interpreter->heap().NewString(part));
    path.parts_.push_back(name);
  }
  return path;
}

absl::StatusOr<Value> AttributePath::Of(const Value& value, const Value* standard) const {
  Value found = value;
  for (const Value& part : parts_) {
    PREFIXD_ASSIGN_OR_RETURN(found, interpreter_->ItemOrAttribute(found, part));
    if (standard != nullptr && found.is_undefined()) found = *standard;
  }
  if (!ignore_case_ || !found.is_string()) return found;
  PREFIXD_RETURN_IF_ERROR(interpreter_->heap().ChargeBytes(8 * found.text().size()));
  return interpreter_->heap().NewText(Lower(found.text()));
}

}  // namespace prefixd::jinja
