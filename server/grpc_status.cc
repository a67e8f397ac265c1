#include "server/grpc_status.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace prefixd {
namespace {

constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxValueBytes = 256;
constexpr size_t kMaxMetadata = 16;

// Cut to `limit` bytes of printable ASCII: always valid in a header and in a proto string.
std::string Printable(absl::string_view text, size_t limit) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}

const char* DefaultReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return reason::kInputInvalid;
    case absl::StatusCode::kCancelled:
      return reason::kCancelled;
    case absl::StatusCode::kDeadlineExceeded:
      return reason::kDeadlineExceeded;
    case absl::StatusCode::kNotFound:
      return reason::kRequestNotFound;
    case absl::StatusCode::kAlreadyExists:
      return reason::kRequestExists;
    case absl::StatusCode::kResourceExhausted:
      return reason::kQueueFull;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return reason::kFeatureUnsupported;
    default:
      return reason::kEngineFailed;
  }
}

bool IsPrivate(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

void SetDuration(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  out->set_seconds(nanos / 1'000'000'000);
  out->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

// As many violations as fit; the last one says how many did not.
google::rpc::BadRequest ListViolations(const std::vector<FieldViolation>& violations,
                                       size_t budget) {
  google::rpc::BadRequest out;
  for (size_t i = 0; i < violations.size(); ++i) {
    google::rpc::BadRequest::FieldViolation* entry = out.add_field_violations();
    entry->set_field(Printable(violations[i].field, kMaxValueBytes));
    entry->set_description(Printable(violations[i].description, kMaxValueBytes));
    if (out.ByteSizeLong() > budget) {
      entry->set_field("...");
      entry->set_description(absl::StrCat("and ", violations.size() - i, " more"));
      break;
    }
  }
  return out;
}

// Packs `message` if the sum stays within kMaxDetailBytes.
void Attach(const google::protobuf::Message& message, google::rpc::Status* out) {
  google::protobuf::Any any;
  any.PackFrom(message);
  if (out->ByteSizeLong() + any.ByteSizeLong() + 8 <= kMaxDetailBytes) {
    *out->add_details() = std::move(any);
  }
}

google::rpc::ErrorInfo MakeErrorInfo(const ErrorDetail& detail) {
  google::rpc::ErrorInfo info;
  info.set_reason(detail.reason);
  info.set_domain(kErrorDomain);
  for (size_t i = 0; i < std::min(detail.metadata.size(), kMaxMetadata); ++i) {
    const auto& [key, value] = detail.metadata[i];
    (*info.mutable_metadata())[Printable(key, 64)] = Printable(value, kMaxValueBytes);
    if (info.ByteSizeLong() > kMaxDetailBytes / 3) {
      info.mutable_metadata()->erase(Printable(key, 64));
      break;
    }
  }
  return info;
}

// What was not found, and the metadata that names it.
std::pair<const char*, const char*> ResourceOf(const std::string& reason) {
  if (reason == reason::kModelNotFound) return {"model", "model"};
  if (reason == reason::kPrefixNotFound) return {"prefix", "prefix"};
  if (reason == reason::kClassSetNotFound) return {"class_set", "class_set"};
  if (reason == reason::kImageNotCached) return {"image", "sha256"};
  return {"request", "request_id"};
}

void AttachByCode(const absl::Status& status, const ErrorDetail& detail, const std::string& message,
                  google::rpc::Status* out) {
  const auto value_of = [&](absl::string_view key) {
    for (const auto& [k, v] : detail.metadata) {
      if (k == key) return Printable(v, kMaxValueBytes);
    }
    return std::string();
  };
  if (status.code() == absl::StatusCode::kNotFound) {
    google::rpc::ResourceInfo info;
    const auto& [type, key] = ResourceOf(detail.reason);
    info.set_resource_type(type);
    info.set_resource_name(value_of(key));
    info.set_description(message);
    Attach(info, out);
  } else if (status.code() == absl::StatusCode::kFailedPrecondition) {
    google::rpc::PreconditionFailure failure;
    google::rpc::PreconditionFailure::Violation* violation = failure.add_violations();
    violation->set_type(detail.reason);
    violation->set_subject(value_of("model"));
    violation->set_description(message);
    Attach(failure, out);
  } else if (status.code() == absl::StatusCode::kResourceExhausted && detail.retry_after) {
    google::rpc::QuotaFailure failure;
    google::rpc::QuotaFailure::Violation* violation = failure.add_violations();
    violation->set_subject("server");
    violation->set_description(message);
    Attach(failure, out);
  }
}

}  // namespace

GrpcError ToGrpcError(const absl::Status& status, absl::string_view request_id, double jitter) {
  PREFIXD_CHECK(!status.ok());
  const ErrorDetail detail =
      GetErrorDetail(status).value_or(ErrorDetail{.reason = DefaultReason(status.code())});
  GrpcError error;
  error.reason = detail.reason;
  const std::string message =
      IsPrivate(status.code())
          ? "the request failed inside the server; its log has the cause under the request's id"
          : Printable(status.message(), kMaxMessageBytes);

  google::rpc::Status out;
  out.set_code(static_cast<int32_t>(status.code()));
  out.set_message(message);
  Attach(MakeErrorInfo(detail), &out);
  if (!request_id.empty()) {
    google::rpc::RequestInfo info;
    info.set_request_id(Printable(request_id, kMaxValueBytes));
    Attach(info, &out);
  }
  const bool retryable = status.code() == absl::StatusCode::kUnavailable ||
                         status.code() == absl::StatusCode::kResourceExhausted;
  if (retryable && detail.retry_after) {
    google::rpc::RetryInfo info;
    SetDuration(*detail.retry_after, info.mutable_retry_delay());
    Attach(info, &out);
    const double factor = 1.0 + 0.2 * std::clamp(jitter, -1.0, 1.0);
    error.pushback_ms = absl::ToInt64Milliseconds(*detail.retry_after * factor);
  }
  AttachByCode(status, detail, message, &out);
  if (!detail.field_violations.empty()) {
    const size_t used = out.ByteSizeLong() + 128;
    Attach(
        ListViolations(detail.field_violations, kMaxDetailBytes - std::min(used, kMaxDetailBytes)),
        &out);
  }
  error.status =
      grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, out.SerializeAsString());
  return error;
}

}  // namespace prefixd
