#include "engine/tokenizer/json_fields.h"

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/limits.h"

namespace prefixd {
namespace {

const nlohmann::json& Null() {
  static const nlohmann::json* const kNull = new nlohmann::json(nullptr);
  return *kNull;
}

}  // namespace

JsonField JsonField::operator[](absl::string_view key) const {
  std::string where = absl::StrCat(where_, where_.back() == ':' ? " " : ".", key);
  if (!value_->is_object()) return JsonField(&Null(), std::move(where));
  const auto found = value_->find(std::string(key));
  return JsonField(found == value_->end() ? &Null() : &*found, std::move(where));
}

JsonField JsonField::At(size_t index) const {
  return JsonField(&(*value_)[index], absl::StrCat(where_, "[", index, "]"));
}

absl::StatusOr<std::string> JsonField::String() const {
  if (!value_->is_string()) return Invalid("a string is missing");
  return value_->get_ref<const std::string&>();
}

absl::StatusOr<std::string> JsonField::StringOr(absl::string_view absent) const {
  if (is_null()) return std::string(absent);
  return String();
}

absl::StatusOr<bool> JsonField::BoolOr(bool absent) const {
  if (is_null()) return absent;
  if (!value_->is_boolean()) return Invalid("not true or false");
  return value_->get<bool>();
}

absl::StatusOr<int32_t> JsonField::Id() const {
  if (!value_->is_number_integer()) return Invalid("the id is not a whole number");
  if (!value_->is_number_unsigned() && value_->get<int64_t>() < 0) {
    return Invalid(absl::StrCat("id ", value_->get<int64_t>(), " is negative"));
  }
  const uint64_t id = value_->get<uint64_t>();
  if (id >= kMaxVocabSize) {
    return Invalid(absl::StrCat("id ", id, ", the limit is ", kMaxVocabSize - 1));
  }
  return static_cast<int32_t>(id);
}

absl::StatusOr<size_t> JsonField::ArraySize() const {
  if (!value_->is_array()) return Invalid("not a list");
  return value_->size();
}

absl::Status JsonField::Invalid(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ": ", what));
}

absl::Status JsonField::Unsupported(absl::string_view what) const {
  return absl::UnimplementedError(absl::StrCat(where_, ": ", what, " is not supported"));
}

}  // namespace prefixd
