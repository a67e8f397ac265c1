// Generate and CountTokens. Thread-safe; calls into the engine do not block.
#ifndef PREFIXD_SERVER_GENERATION_SERVICE_H_
#define PREFIXD_SERVER_GENERATION_SERVICE_H_

#include "prefixd/v1/generation_service.grpc.pb.h"
#include "server/serving_context.h"
#include "server/stream_watch.h"

namespace prefixd {

class GenerationService final : public v1::GenerationService::CallbackService {
 public:
  // Both must outlive the service.
  GenerationService(ServingContext* context, StreamWatch* watch)
      : context_(*context), watch_(*watch) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* call, const v1::GenerateRequest* message) override;

  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* call,
                                        const v1::CountTokensRequest* message,
                                        v1::CountTokensResponse* response) override;

 private:
  ServingContext& context_;
  StreamWatch& watch_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GENERATION_SERVICE_H_
