// Ranking of names, scoring of texts, class sets. Thread-safe; calls into the engine do not block.
#ifndef PREFIXD_SERVER_CLASSIFICATION_SERVICE_H_
#define PREFIXD_SERVER_CLASSIFICATION_SERVICE_H_

#include "prefixd/v1/classification_service.grpc.pb.h"
#include "server/serving_context.h"
#include "server/stream_watch.h"

namespace prefixd {

class ClassificationService final : public v1::ClassificationService::CallbackService {
 public:
  // Both must outlive the service.
  ClassificationService(ServingContext* context, StreamWatch* watch)
      : context_(*context), watch_(*watch) {}

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* call,
                                     const v1::ClassifyRequest* message,
                                     v1::ClassifyResponse* response) override;
  grpc::ServerBidiReactor<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>* ClassifyBatch(
      grpc::CallbackServerContext* call) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* call,
                                  const v1::ScoreRequest* message,
                                  v1::ScoreResponse* response) override;
  grpc::ServerUnaryReactor* CreateClassSet(grpc::CallbackServerContext* call,
                                           const v1::CreateClassSetRequest* message,
                                           v1::CreateClassSetResponse* response) override;
  grpc::ServerUnaryReactor* GetClassSet(grpc::CallbackServerContext* call,
                                        const v1::GetClassSetRequest* message,
                                        v1::GetClassSetResponse* response) override;
  grpc::ServerUnaryReactor* ListClassSets(grpc::CallbackServerContext* call,
                                          const v1::ListClassSetsRequest* message,
                                          v1::ListClassSetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteClassSet(grpc::CallbackServerContext* call,
                                           const v1::DeleteClassSetRequest* message,
                                           v1::DeleteClassSetResponse* response) override;

 private:
  ServingContext& context_;
  StreamWatch& watch_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CLASSIFICATION_SERVICE_H_
