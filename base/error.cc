#include "base/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace prefixd {
namespace {

constexpr char kPayloadUrl[] = "prefixd/error-detail";

// The payload is a list of length-prefixed strings: "<size>:<bytes>".
void Put(absl::string_view value, std::string* out) {
  absl::StrAppend(out, value.size(), ":", value);
}

void PutCount(size_t count, std::string* out) { Put(absl::StrCat(count), out); }

// Reads what Put wrote; only this file writes payloads, so a mismatch is our own bug.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}

  std::string Take() {
    const size_t colon = rest_.find(':');
    PREFIXD_CHECK(colon != absl::string_view::npos);
    size_t size = 0;
    PREFIXD_CHECK(absl::SimpleAtoi(rest_.substr(0, colon), &size));
    PREFIXD_CHECK(size <= rest_.size() - colon - 1);
    std::string value(rest_.substr(colon + 1, size));
    rest_.remove_prefix(colon + 1 + size);
    return value;
  }

  size_t TakeCount() {
    size_t count = 0;
    PREFIXD_CHECK(absl::SimpleAtoi(Take(), &count));
    return count;
  }

 private:
  absl::string_view rest_;
};

std::string Encode(const ErrorDetail& detail) {
  std::string out;
  Put(detail.reason, &out);
  PutCount(detail.metadata.size(), &out);
  for (const auto& [key, value] : detail.metadata) {
    Put(key, &out);
    Put(value, &out);
  }
  PutCount(detail.field_violations.size(), &out);
  for (const FieldViolation& violation : detail.field_violations) {
    Put(violation.field, &out);
    Put(violation.description, &out);
  }
  Put(detail.retry_after ? absl::StrCat(absl::ToInt64Milliseconds(*detail.retry_after)) : "", &out);
  return out;
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view message,
                       const ErrorDetail& detail) {
  PREFIXD_CHECK(code != absl::StatusCode::kOk);
  absl::Status status(code, message);
  status.SetPayload(kPayloadUrl, absl::Cord(Encode(detail)));
  return status;
}

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                       std::vector<std::pair<std::string, std::string>> metadata) {
  return MakeError(code, message,
                   ErrorDetail{.reason = std::string(reason), .metadata = std::move(metadata)});
}

std::optional<ErrorDetail> GetErrorDetail(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  Reader reader(bytes);
  ErrorDetail detail{.reason = reader.Take()};
  for (size_t n = reader.TakeCount(); n > 0; --n) {
    std::string key = reader.Take();
    detail.metadata.emplace_back(std::move(key), reader.Take());
  }
  for (size_t n = reader.TakeCount(); n > 0; --n) {
    std::string field = reader.Take();
    detail.field_violations.push_back({std::move(field), reader.Take()});
  }
  int64_t retry_ms = 0;
  if (absl::SimpleAtoi(reader.Take(), &retry_ms)) {
    detail.retry_after = absl::Milliseconds(retry_ms);
  }
  return detail;
}

}  // namespace prefixd
