#include "server/violations.h"

#include "absl/strings/str_cat.h"
#include "engine/error_reasons.h"

namespace prefixd {

void Violations::Add(absl::string_view reason, std::string field, std::string description,
                     std::vector<std::pair<std::string, std::string>> metadata) {
  if (total_ == 0) {
    detail_.reason = std::string(reason);
    detail_.metadata = std::move(metadata);
  }
  ++total_;
  if (detail_.field_violations.size() < kMaxListed) {
    detail_.field_violations.push_back({std::move(field), std::move(description)});
  }
}

void Violations::CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  const std::string range = absl::StrCat("[", low, ", ", high, "]");
  Add(reason::kParameterOutOfRange, std::string(field),
      absl::StrCat(value, " is outside the range ", range),
      {{"value", absl::StrCat(value)}, {"range", range}});
}

void Violations::CheckNumber(absl::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return;
  const std::string range = absl::StrCat("[", low, ", ", high, "]");
  Add(reason::kParameterOutOfRange, std::string(field),
      absl::StrCat(value, " is outside the range ", range),
      {{"value", absl::StrCat(value)}, {"range", range}});
}

void Violations::CheckCount(absl::string_view field, absl::string_view things, uint64_t count,
                            uint64_t limit) {
  if (count <= limit) return;
  Add(reason::kParameterOutOfRange, std::string(field),
      absl::StrCat(count, " ", things, ", the limit is ", limit),
      {{"value", absl::StrCat(count)}, {"limit", absl::StrCat(limit)}});
}

absl::Status Violations::ToStatus() const {
  if (empty()) return absl::OkStatus();
  const FieldViolation& first = detail_.field_violations.front();
  std::string message = absl::StrCat(first.field, ": ", first.description);
  if (total_ > 1) absl::StrAppend(&message, " (and ", total_ - 1, " more)");
  return MakeError(absl::StatusCode::kInvalidArgument, message, detail_);
}

}  // namespace prefixd
