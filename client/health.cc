#include "client/health.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include "base/check.h"
#include "client/call_deadline.h"
#include "client/call_status.h"

namespace prefixd {
namespace {

// HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1; }
// have the wire form of these two well-known types, so the protocol needs no file of its own.
using HealthRequest = google::protobuf::StringValue;
using HealthResponse = google::protobuf::Int32Value;
using HealthStub = grpc::TemplatedGenericStub<HealthRequest, HealthResponse>;

constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr char kWatchMethod[] = "/grpc.health.v1.Health/Watch";

// Waits for the one operation in flight. Returns whether it succeeded.
bool Await(grpc::CompletionQueue* queue) {
  void* tag = nullptr;
  bool ok = false;
  PREFIXD_CHECK(queue->Next(&tag, &ok));
  return ok;
}

Health ToHealth(const HealthResponse& response) {
  const int value = response.value();
  return value >= 0 && value <= 3 ? static_cast<Health>(value) : Health::kUnknown;
}

}  // namespace

const char* HealthName(Health health) {
  switch (health) {
    case Health::kServing:
      return "SERVING";
    case Health::kNotServing:
      return "NOT_SERVING";
    case Health::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case Health::kUnknown:
      break;
  }
  return "UNKNOWN";
}

absl::StatusOr<Health> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                   const std::string& service, absl::Duration timeout) {
  HealthRequest request;
  request.set_value(service);
  HealthStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  SetTimeout(timeout, &context);
  const auto call = stub.PrepareUnaryCall(&context, kCheckMethod, request, &queue);
  call->StartCall();
  HealthResponse response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  Await(&queue);
  if (!status.ok()) return FromGrpcStatus(status);
  return ToHealth(response);
}

absl::Status WatchHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                         absl::Duration timeout, const std::function<bool(Health)>& on_change) {
  HealthRequest request;
  request.set_value(service);
  HealthStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  SetTimeout(timeout, &context);
  const auto call = stub.PrepareCall(&context, kWatchMethod, &queue);
  call->StartCall(nullptr);
  bool going = Await(&queue);
  if (going) {
    call->WriteLast(request, grpc::WriteOptions(), nullptr);
    going = Await(&queue);
  }
  bool satisfied = false;
  while (going && !satisfied) {
    HealthResponse response;
    call->Read(&response, nullptr);
    going = Await(&queue);
    if (going) satisfied = !on_change(ToHealth(response));
  }
  if (satisfied) context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  Await(&queue);
  if (satisfied) return absl::OkStatus();
  if (status.ok()) return absl::UnavailableError("the server ended the health watch");
  return FromGrpcStatus(status);
}

}  // namespace prefixd
