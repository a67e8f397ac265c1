// What is served. Thread-safe.
#ifndef PREFIXD_SERVER_MODEL_SERVICE_H_
#define PREFIXD_SERVER_MODEL_SERVICE_H_

#include "prefixd/v1/model_service.grpc.pb.h"
#include "server/serving_context.h"

namespace prefixd {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  // `context` must outlive the service.
  explicit ModelService(ServingContext* context) : context_(*context) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* call,
                                       const v1::ListModelsRequest* message,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* call,
                                     const v1::GetModelRequest* message,
                                     v1::GetModelResponse* response) override;

 private:
  ServingContext& context_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_MODEL_SERVICE_H_
