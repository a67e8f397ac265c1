#include "server/call_counts.h"

#include <vector>

#include <grpcpp/support/server_interceptor.h>

#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace prefixd {
namespace {

// The reason in the details that server/grpc_status.cc wrote; empty if there is none.
std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return "";
  google::rpc::ErrorInfo info;
  for (const auto& detail : rich.details()) {
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

class CallCounter final : public grpc::experimental::Interceptor {
 public:
  CallCounter(CallCounts* counts, const char* method)
      : counts_(*counts), method_(method == nullptr ? "" : method) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      counts_.Add(absl::StripPrefix(method_, "/"), methods->GetSendStatus());
    }
    methods->Proceed();
  }

 private:
  CallCounts& counts_;
  const absl::string_view method_;  // Of the registered service, which outlives the call.
};

class CallCounterFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallCounterFactory(CallCounts* counts) : counts_(counts) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new CallCounter(counts_, info->method());
  }

 private:
  CallCounts* const counts_;
};

// Returns `name` if it is in `known` or has room there, else kOther.
template <typename Known>
std::string Bounded(absl::string_view name, const Known& known) {
  std::string key(name);
  const bool fits = !key.empty() && (known.size() < CallCounts::kMaxNames || known.count(key) > 0);
  return fits ? key : std::string(CallCounts::kOther);
}

}  // namespace

void CallCounts::Add(absl::string_view method, const grpc::Status& status) {
  const std::string reason = status.ok() ? "" : ReasonOf(status);
  MutexLock lock(&mutex_);
  const std::string name = Bounded(method, methods_);
  methods_.emplace(name, 0);
  ++counts_.by_method[{name, status.error_code()}];
  if (!status.ok()) ++counts_.by_reason[Bounded(reason, counts_.by_reason)];
}

CallCounts::Snapshot CallCounts::Read() const {
  MutexLock lock(&mutex_);
  return counts_;
}

void CountCalls(CallCounts* counts, grpc::ServerBuilder* builder) {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
  creators.push_back(std::make_unique<CallCounterFactory>(counts));
  builder->experimental().SetInterceptorCreators(std::move(creators));
}

absl::string_view StatusCodeName(grpc::StatusCode code) {
  static constexpr absl::string_view kNames[] = {"OK",
                                                 "CANCELLED",
                                                 "UNKNOWN",
                                                 "INVALID_ARGUMENT",
                                                 "DEADLINE_EXCEEDED",
                                                 "NOT_FOUND",
                                                 "ALREADY_EXISTS",
                                                 "PERMISSION_DENIED",
                                                 "RESOURCE_EXHAUSTED",
                                                 "FAILED_PRECONDITION",
                                                 "ABORTED",
                                                 "OUT_OF_RANGE",
                                                 "UNIMPLEMENTED",
                                                 "INTERNAL",
                                                 "UNAVAILABLE",
                                                 "DATA_LOSS",
                                                 "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

}  // namespace prefixd
