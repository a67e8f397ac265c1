#include "client/call_status.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace prefixd {
namespace {

constexpr char kRequestIdUrl[] = "prefixd/request-id";

// Reads what of `any` belongs into `detail` or `request_id`; other types are ignored.
void ReadDetail(const google::protobuf::Any& any, ErrorDetail* detail, std::string* request_id) {
  if (google::rpc::ErrorInfo info; any.UnpackTo(&info)) {
    detail->reason = info.reason();
    for (const auto& [key, value] : info.metadata()) detail->metadata.emplace_back(key, value);
    std::sort(detail->metadata.begin(), detail->metadata.end());
  } else if (google::rpc::BadRequest bad; any.UnpackTo(&bad)) {
    for (const auto& violation : bad.field_violations()) {
      detail->field_violations.push_back({violation.field(), violation.description()});
    }
  } else if (google::rpc::RetryInfo retry; any.UnpackTo(&retry)) {
    detail->retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                          absl::Nanoseconds(retry.retry_delay().nanos());
  } else if (google::rpc::RequestInfo info; any.UnpackTo(&info)) {
    *request_id = info.request_id();
  }
}

}  // namespace

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  if (status.code() == 0) return absl::OkStatus();
  ErrorDetail detail;
  std::string request_id;
  for (const auto& any : status.details()) ReadDetail(any, &detail, &request_id);
  absl::Status result =
      MakeError(static_cast<absl::StatusCode>(status.code()), status.message(), detail);
  if (!request_id.empty()) result.SetPayload(kRequestIdUrl, absl::Cord(request_id));
  return result;
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) rich.Clear();
  // Both enumerations have the values of google.rpc.Code. Those of the call itself count.
  rich.set_code(status.error_code());
  rich.set_message(status.error_message());
  return FromRpcStatus(rich);
}

std::string GetRequestId(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRequestIdUrl);
  return payload ? std::string(*payload) : "";
}

}  // namespace prefixd
