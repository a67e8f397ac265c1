// What the server registers with gRPC: one guard for each service, which lets a call through to the
// service only after Authenticator::Admit. A method that a guard does not list is UNIMPLEMENTED, so
// a new one cannot be left open by mistake; tests/server/door_test.cc walks the descriptors and
// fails for one that was left out. Thread-safe.
#ifndef PREFIXD_SERVER_GUARDED_SERVICES_H_
#define PREFIXD_SERVER_GUARDED_SERVICES_H_

#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/classification_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"
#include "server/auth.h"
#include "server/unary.h"

namespace prefixd {

// Ends a stream with a status at once. Deletes itself.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  RefusedStream(grpc::CallbackServerContext* call, const absl::Status& status) {
    this->Finish(RefusalOf(call, status));
  }
  void OnDone() override { delete this; }
};

// The same for one that is read and written.
template <typename Request, typename Response>
class RefusedBidi final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  RefusedBidi(grpc::CallbackServerContext* call, const absl::Status& status) {
    this->Finish(RefusalOf(call, status));
  }
  void OnDone() override { delete this; }
};

// What the guards have in common. `Service` is generated, such as v1::ModelService.
template <typename Service, Door kTheDoor>
class Guard : public Service::CallbackService {
 public:
  // Both must outlive the guard.
  Guard(typename Service::CallbackService* service, Authenticator* auth)
      : service_(*service), auth_(*auth) {}

 protected:
  static constexpr Door kDoor = kTheDoor;

  typename Service::CallbackService& service_;
  Authenticator& auth_;
};

#define PREFIXD_GUARDED_UNARY(Method)                                         \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* call,         \
                                   const v1::Method##Request* request,        \
                                   v1::Method##Response* response) override { \
    const auto caller = auth_.Admit(*call, kDoor);                            \
    if (!caller.ok()) return FinishUnary(call, caller.status());              \
    return service_.Method(call, request, response);                          \
  }
#define PREFIXD_GUARDED_STREAM(Method)                                                       \
  grpc::ServerWriteReactor<v1::Method##Response>* Method(                                    \
      grpc::CallbackServerContext* call, const v1::Method##Request* request) override {      \
    const auto caller = auth_.Admit(*call, kDoor);                                           \
    if (!caller.ok()) return new RefusedStream<v1::Method##Response>(call, caller.status()); \
    return service_.Method(call, request);                                                   \
  }
#define PREFIXD_GUARDED_BIDI(Method)                                                            \
  grpc::ServerBidiReactor<v1::Method##Request, v1::Method##Response>* Method(                   \
      grpc::CallbackServerContext* call) override {                                             \
    const auto caller = auth_.Admit(*call, kDoor);                                              \
    if (!caller.ok()) {                                                                         \
      return new RefusedBidi<v1::Method##Request, v1::Method##Response>(call, caller.status()); \
    }                                                                                           \
    return service_.Method(call);                                                               \
  }

class GuardedGenerationService final : public Guard<v1::GenerationService, Door::kData> {
 public:
  using Guard::Guard;
  PREFIXD_GUARDED_STREAM(Generate)
  PREFIXD_GUARDED_UNARY(CountTokens)
};

class GuardedClassificationService final : public Guard<v1::ClassificationService, Door::kData> {
 public:
  using Guard::Guard;
  PREFIXD_GUARDED_UNARY(Classify)
  PREFIXD_GUARDED_BIDI(ClassifyBatch)
  PREFIXD_GUARDED_UNARY(Score)
  PREFIXD_GUARDED_UNARY(CreateClassSet)
  PREFIXD_GUARDED_UNARY(GetClassSet)
  PREFIXD_GUARDED_UNARY(ListClassSets)
  PREFIXD_GUARDED_UNARY(DeleteClassSet)
};

class GuardedModelService final : public Guard<v1::ModelService, Door::kData> {
 public:
  using Guard::Guard;
  PREFIXD_GUARDED_UNARY(ListModels)
  PREFIXD_GUARDED_UNARY(GetModel)
};

class GuardedPrefixService final : public Guard<v1::PrefixService, Door::kData> {
 public:
  using Guard::Guard;
  PREFIXD_GUARDED_UNARY(CreatePrefix)
  PREFIXD_GUARDED_UNARY(GetPrefix)
  PREFIXD_GUARDED_UNARY(ListPrefixes)
  PREFIXD_GUARDED_UNARY(TouchPrefix)
  PREFIXD_GUARDED_UNARY(ReleasePrefix)
};

class GuardedAdminService final : public Guard<v1::AdminService, Door::kAdmin> {
 public:
  using Guard::Guard;
  PREFIXD_GUARDED_UNARY(GetServerInfo)
  PREFIXD_GUARDED_UNARY(GetCacheStats)
  PREFIXD_GUARDED_UNARY(ListRequests)
  PREFIXD_GUARDED_UNARY(AbortRequest)
  PREFIXD_GUARDED_UNARY(Drain)
  PREFIXD_GUARDED_UNARY(FlushCache)
  PREFIXD_GUARDED_UNARY(GetPageMap)
};

#undef PREFIXD_GUARDED_BIDI
#undef PREFIXD_GUARDED_STREAM
#undef PREFIXD_GUARDED_UNARY

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GUARDED_SERVICES_H_
