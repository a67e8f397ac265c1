// A connection to a prefixd server. Requests and answers are the messages of prefixd.v1; errors are
// absl::Status with the detail of base/error.h (GetErrorDetail) and a request id (GetRequestId).
//
//   auto client = prefixd::Client::Connect("127.0.0.1:50051");
//   prefixd::v1::GenerateRequest request;
//   *request.mutable_chat()->add_messages() = prefixd::UserMessage("What is this?", {png_bytes});
//   auto stream = (*client)->Generate(request);
//   for (prefixd::v1::GenerateResponse event; (*stream)->Read(&event);) { ... }
//   absl::Status status = (*stream)->Finish();
#ifndef PREFIXD_CLIENT_CLIENT_H_
#define PREFIXD_CLIENT_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/channel.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/classify_batch.h"
#include "client/generate_stream.h"
#include "client/health.h"
#include "client/image_offer.h"
#include "client/sent_images.h"
#include "prefixd/v1/admin_service.pb.h"
#include "prefixd/v1/classification_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"
#include "prefixd/v1/model_service.pb.h"
#include "prefixd/v1/prefix_service.pb.h"

namespace grpc {
class ClientContext;
class Status;
}  // namespace grpc

namespace prefixd {

// Contents of PEM files. With `enabled` alone the server's certificate is checked against the
// system's authorities.
struct TlsOptions {
  bool enabled = false;
  std::string ca;         // Whom to trust instead.
  std::string cert, key;  // Of the client, for servers that ask for them; both or none.
};

struct ClientOptions {
  // The largest message either way, and what a call may keep for its retries.
  int max_message_bytes = 32 << 20;
  // A ping after this much silence finds dead connections. The server tolerates 20 s and more.
  absl::Duration keepalive = absl::Seconds(30);
  // Deadline of every call that takes no timeout of its own.
  absl::Duration unary_timeout = absl::Seconds(10);
  // Sent with every call as `authorization: Bearer TOKEN`; empty: none. Only over TLS, to this
  // machine, or with `insecure`.
  std::string token;
  bool insecure = false;
  // HOST:PORT of AdminService, as for Connect; empty: the server's.
  std::string admin_server;
  // Of both connections.
  TlsOptions tls;
  // How soon a lost or refused connection is tried again; doubles up to 2 s.
  absl::Duration reconnect_backoff = absl::Milliseconds(100);
  // Whether images travel as digests where the server may have them; their bytes follow if it does
  // not. Nothing else changes for the caller.
  ImageDigests image_digests = ImageDigests::kAfterFirst;
};

// Thread-safe. A call that the server refuses with UNAVAILABLE before it began is tried up to three
// times (client/service_config.json). Streams may outlive the client.
class Client {
 public:
  // `server`: HOST:PORT, [IPV6]:PORT or unix:PATH. Returns at once; the first call connects.
  // Errors: INVALID_ARGUMENT for another form or bad options, such as a token that would travel in
  // plain text.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& server,
                                                         const ClientOptions& options = {});
  ~Client();

  // Starts generating. `timeout` is sent as the deadline; infinite: the server's default holds.
  // A request above `max_message_bytes` is refused here with INVALID_ARGUMENT, REQUEST_TOO_LARGE,
  // its images counted whether or not their bytes would have to be sent.
  absl::StatusOr<std::unique_ptr<GenerateStream>> Generate(
      const v1::GenerateRequest& request, absl::Duration timeout = absl::InfiniteDuration());

  absl::StatusOr<v1::CountTokensResponse> CountTokens(const v1::CountTokensRequest& request);

  // Computes and pins a prefix; `timeout` as for Generate. Names are "prefixes/ID".
  absl::StatusOr<v1::Prefix> CreatePrefix(const v1::CreatePrefixRequest& request,
                                          absl::Duration timeout = absl::InfiniteDuration());
  absl::StatusOr<v1::Prefix> GetPrefix(const std::string& name);
  // All pages of the list.
  absl::StatusOr<std::vector<v1::Prefix>> ListPrefixes();
  // Starts its time to live again, with another length if `ttl` is given.
  absl::StatusOr<v1::Prefix> TouchPrefix(const std::string& name,
                                         std::optional<absl::Duration> ttl = std::nullopt);
  absl::Status ReleasePrefix(const std::string& name);

  // Ranks names behind a context; `timeout` as for Generate.
  absl::StatusOr<v1::ClassifyResponse> Classify(const v1::ClassifyRequest& request,
                                                absl::Duration timeout = absl::InfiniteDuration());
  // Ranks names behind many contexts over one stream: see client/classify_batch.h. `timeout` is
  // that of the whole stream.
  absl::Status ClassifyBatch(const NextClassification& next, const OnClassified& on_result,
                             absl::Duration timeout = absl::InfiniteDuration());
  // Scores texts behind a prompt, and the prompt itself; `timeout` as for Generate.
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request,
                                          absl::Duration timeout = absl::InfiniteDuration());

  // Stores a class set; `timeout` as for Generate. Names are "classSets/ID".
  absl::StatusOr<v1::ClassSet> CreateClassSet(const v1::CreateClassSetRequest& request,
                                              absl::Duration timeout = absl::InfiniteDuration());
  // With its names.
  absl::StatusOr<v1::ClassSet> GetClassSet(const std::string& name);
  // All pages of the list; sets without their names.
  absl::StatusOr<std::vector<v1::ClassSet>> ListClassSets();
  absl::Status DeleteClassSet(const std::string& name);

  // All pages of the list.
  absl::StatusOr<std::vector<v1::Model>> ListModels();
  // An empty name is the only model.
  absl::StatusOr<v1::Model> GetModel(const std::string& name);

  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo();
  absl::StatusOr<v1::GetCacheStatsResponse> GetCacheStats();
  // All pages of the list, in one response.
  absl::StatusOr<v1::ListRequestsResponse> ListRequests();
  // `tenant`: whose it is; empty: the single tenant.
  absl::Status AbortRequest(const std::string& request_id, const std::string& tenant = "");
  // Drops what is cached and not in use; `tenant` unset: everybody's.
  absl::StatusOr<v1::FlushCacheResponse> FlushCache(const std::optional<std::string>& tenant);
  // `max_cells` in [1, 4096]; 0: the server's default.
  absl::StatusOr<v1::GetPageMapResponse> GetPageMap(int32_t max_cells);

  // Names: "" (the process lives), "ready" (it answers). Errors: NOT_FOUND for an unknown name.
  absl::StatusOr<Health> CheckHealth(const std::string& service);
  // See client/health.h.
  absl::Status WatchHealth(const std::string& service, absl::Duration timeout,
                           const std::function<bool(Health)>& on_change);

 private:
  struct Stubs;

  Client(std::shared_ptr<grpc::Channel> channel, const std::shared_ptr<grpc::Channel>& admin,
         const ClientOptions& options);

  // Sets what every call has.
  void Prepare(absl::Duration timeout, grpc::ClientContext* context) const;

  absl::Status CheckSize(size_t bytes) const;
  // Makes a unary call whose images are offered by their digests.
  template <typename Request>
  absl::Status SendOffered(
      const Request& request, absl::Duration timeout,
      const std::function<grpc::Status(grpc::ClientContext*, const Request&)>& call);

  const std::shared_ptr<grpc::Channel> channel_;
  const ClientOptions options_;
  const std::shared_ptr<Stubs> stubs_;  // Shared with streams, which may outlive the client.
  const std::shared_ptr<SentImages> sent_images_;  // Likewise.
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_CLIENT_H_
