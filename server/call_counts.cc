#include "server/call_counts.h"

#include <vector>

#include <grpcpp/support/server_interceptor.h>

#include "absl/strings/strip.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/grpc_status.h"

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

// gRPC answers UNIMPLEMENTED without a word where a message cannot be parsed.
grpc::Status Unparsable() {
  return ToGrpcError(MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                               "the message cannot be parsed; are all its texts UTF-8?"),
                     "")
      .status;
}

class CallCounter final : public grpc::experimental::Interceptor {
 public:
  CallCounter(CallCounts* counts, const grpc::experimental::ServerRpcInfo& info)
      : counts_(*counts),
        method_(info.method() == nullptr ? "" : info.method()),
        one_message_(info.type() == grpc::experimental::ServerRpcInfo::Type::UNARY ||
                     info.type() == grpc::experimental::ServerRpcInfo::Type::SERVER_STREAMING) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      unparsable_ = one_message_ && methods->GetRecvMessage() == nullptr;
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      if (unparsable_) methods->ModifySendStatus(Unparsable());
      counts_.Add(absl::StripPrefix(method_, "/"), methods->GetSendStatus());
    }
    methods->Proceed();
  }

 private:
  CallCounts& counts_;
  const absl::string_view method_;  // Of the registered service, which outlives the call.
  const bool one_message_;          // The client sends exactly one.
  bool unparsable_ = false;
};

class CallCounterFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallCounterFactory(CallCounts* counts) : counts_(counts) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new CallCounter(counts_, *info);
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
