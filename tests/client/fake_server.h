// A gRPC server in the test's process that speaks prefixd.v1 and says what the test wants.
#ifndef PREFIXD_TESTS_CLIENT_FAKE_SERVER_H_
#define PREFIXD_TESTS_CLIENT_FAKE_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"
#include "tests/client/fake_classification.h"

namespace prefixd::testing {

using Writer = grpc::ServerWriter<v1::GenerateResponse>;

// What Generate does: writes events, returns the status.
using GenerateHandler =
    std::function<grpc::Status(grpc::ServerContext*, const v1::GenerateRequest&, Writer*)>;

// A whole answer in these deltas: 20 prompt tokens (4 cached, 9 of images), one token a delta, seed
// 42, queue 1 ms, prefill 20 ms, first token 22.5 ms, total 40 ms, end-of-sequence id 2; a receipt
// with 4 hits, one image whose features were cached, and a divergence.
GenerateHandler AnswerWith(std::vector<std::string> deltas);

// Refuses with a status that carries google.rpc details, as the real server does.
struct Refusal {
  grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT;
  std::string message;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<std::pair<std::string, std::string>> violations;
  int retry_after_ms = 0;  // 0: none.
  std::string request_id;
};
grpc::Status ToStatus(const Refusal& refusal);
GenerateHandler RefuseWith(Refusal refusal);

// Remembers images as the real server does: a digest of one that it never got is refused with
// NOT_FOUND, IMAGE_NOT_CACHED before the handler sees the request. Thread-safe.
class FakeServer : public v1::GenerationService::Service,
                   public v1::ModelService::Service,
                   public v1::AdminService::Service,
                   public v1::PrefixService::Service {
 public:
  // Listens on a free loopback port; ready; one model named "demo".
  FakeServer();
  ~FakeServer() override;

  const std::string& address() const { return address_; }

  FakeClassification& classification() { return classification_; }

  void OnGenerate(GenerateHandler handler);
  // Sets the health of "ready" and the state in GetServerInfo.
  void SetReady(bool ready);
  void SetLoad(uint64_t bytes_done, uint64_t bytes_total);
  // What GetCacheStats answers. GetPageMap has at most 10 cells of 2 pages, 4 of them active.
  void SetCacheStats(const v1::GetCacheStatsResponse& stats);
  // The tenants of the calls of FlushCache, "*" for everybody.
  std::vector<std::string> flushes() const;
  void AddRequest(const std::string& id, v1::RequestState state);

  // Forgets the image of these bytes.
  void ForgetImage(const std::string& bytes);
  // From now on names only the first missing image, as servers may.
  void NameOneMissingImage();

  // The requests that Generate got, refused ones too, in order.
  std::vector<v1::GenerateRequest> requests() const;
  v1::GenerateRequest last_request() const { return requests().at(requests().size() - 1); }
  // Likewise of CreatePrefix and CountTokens.
  std::vector<v1::CreatePrefixRequest> creates() const;
  std::vector<v1::CountTokensRequest> counts() const;

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        Writer* writer) override;
  grpc::Status CountTokens(grpc::ServerContext* context, const v1::CountTokensRequest* request,
                           v1::CountTokensResponse* response) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;
  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::GetServerInfoResponse* response) override;
  grpc::Status GetCacheStats(grpc::ServerContext* context, const v1::GetCacheStatsRequest* request,
                             v1::GetCacheStatsResponse* response) override;
  grpc::Status FlushCache(grpc::ServerContext* context, const v1::FlushCacheRequest* request,
                          v1::FlushCacheResponse* response) override;
  grpc::Status GetPageMap(grpc::ServerContext* context, const v1::GetPageMapRequest* request,
                          v1::GetPageMapResponse* response) override;
  grpc::Status ListRequests(grpc::ServerContext* context, const v1::ListRequestsRequest* request,
                            v1::ListRequestsResponse* response) override;

  grpc::Status CreatePrefix(grpc::ServerContext* context, const v1::CreatePrefixRequest* request,
                            v1::CreatePrefixResponse* response) override;
  grpc::Status GetPrefix(grpc::ServerContext* context, const v1::GetPrefixRequest* request,
                         v1::GetPrefixResponse* response) override;
  grpc::Status ListPrefixes(grpc::ServerContext* context, const v1::ListPrefixesRequest* request,
                            v1::ListPrefixesResponse* response) override;
  grpc::Status TouchPrefix(grpc::ServerContext* context, const v1::TouchPrefixRequest* request,
                           v1::TouchPrefixResponse* response) override;
  grpc::Status ReleasePrefix(grpc::ServerContext* context, const v1::ReleasePrefixRequest* request,
                             v1::ReleasePrefixResponse* response) override;
  // Takes the images that came as bytes; the refusal if a digest is unknown.
  grpc::Status TakeImages(const std::vector<const v1::Image*>& images)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::Status TakeImages(const v1::ChatInput& chat) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::set<std::string> images_ ABSL_GUARDED_BY(mutex_);  // Digests.
  bool name_one_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, v1::Prefix> prefixes_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CreatePrefixRequest> creates_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CountTokensRequest> counts_ ABSL_GUARDED_BY(mutex_);
  GenerateHandler handler_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::GenerateRequest> requests_ ABSL_GUARDED_BY(mutex_);
  v1::GetServerInfoResponse info_ ABSL_GUARDED_BY(mutex_);
  v1::ListRequestsResponse live_ ABSL_GUARDED_BY(mutex_);
  v1::GetCacheStatsResponse cache_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> flushes_ ABSL_GUARDED_BY(mutex_);
  FakeClassification classification_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CLIENT_FAKE_SERVER_H_
