#include "server/tls_credentials.h"

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <exception>
#include <utility>

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

// What changes when a file is replaced or rewritten.
using Stamp = std::array<int64_t, 4>;

Stamp StampOf(const std::string& path) {
  struct stat info;
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return {};
  return {static_cast<int64_t>(info.st_ino), static_cast<int64_t>(info.st_size),
          info.st_mtim.tv_sec * int64_t{1'000'000'000} + info.st_mtim.tv_nsec,
          info.st_ctim.tv_sec * int64_t{1'000'000'000} + info.st_ctim.tv_nsec};
}

using Stamps = std::array<Stamp, 3>;

void WarnOfExpiry(const TlsPaths& paths, const TlsMaterial& material) {
  const absl::Duration left = material.expires - absl::Now();
  if (left > kTlsExpiryWarning) return;
  PREFIXD_LOG(kWarn, paths.cert, ": expires in ", absl::ToInt64Hours(left), " h");
}

// The files in force. gRPC asks for them at each handshake. Thread-safe.
class TlsSource {
 public:
  // `stamps` are those of the files before `material` was read.
  TlsSource(TlsPaths paths, const Stamps& stamps, TlsMaterial material, absl::Duration period)
      : paths_(std::move(paths)),
        period_(period),
        stamps_(stamps),
        material_(std::move(material)),
        next_check_(absl::Now() + period) {}

  static Stamps StampsOf(const TlsPaths& paths) {
    return {StampOf(paths.cert), StampOf(paths.key), StampOf(paths.client_ca)};
  }

  bool asks_clients() const { return !paths_.client_ca.empty(); }

  // Sets `config` if there is something new since the last call.
  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config** config) {
    MutexLock lock(&mutex_);
    if (absl::Now() >= next_check_) Check();
    if (delivered_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {material_.key.c_str(), material_.cert.c_str()};
    // gRPC 1.51 insists on roots even where no client is asked; then nothing is checked against
    // them, and the server's own certificate is as good as any.
    const std::string& roots = asks_clients() ? material_.client_ca : material_.cert;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    delivered_ = true;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

 private:
  void Check() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    next_check_ = absl::Now() + period_;
    const Stamps stamps = StampsOf(paths_);
    if (stamps == stamps_) return;
    absl::StatusOr<TlsMaterial> material = LoadTls(paths_, absl::Now());
    if (!material.ok()) {
      // Also said again at the next check: somebody must act before the old pair expires.
      PREFIXD_LOG(kError, "TLS files changed but cannot be used, keeping the last good ones: ",
                  material.status().message());
      return;
    }
    stamps_ = stamps;
    material_ = *std::move(material);
    delivered_ = false;
    PREFIXD_LOG(kInfo, "TLS files changed: new connections use them, certificate=", paths_.cert);
    WarnOfExpiry(paths_, material_);
  }

  const TlsPaths paths_;
  const absl::Duration period_;
  Mutex mutex_;
  Stamps stamps_ ABSL_GUARDED_BY(mutex_);
  TlsMaterial material_ ABSL_GUARDED_BY(mutex_);
  bool delivered_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time next_check_ ABSL_GUARDED_BY(mutex_);
};

grpc_ssl_certificate_config_reload_status FetchConfig(void* source,
                                                      grpc_ssl_server_certificate_config** config) {
  try {
    return static_cast<TlsSource*>(source)->Fetch(config);
  } catch (const std::exception& e) {
    PREFIXD_LOG(kError, "TLS files cannot be read: ", e.what());
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
  }
}

// gRPC's C++ credentials know files (whose new content replaces a good pair unchecked) and
// constants. Its C interface takes a function, which may keep what works.
class FetchingCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchingCredentials(std::unique_ptr<TlsSource> source) : source_(std::move(source)) {
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            source_->asks_clients() ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            FetchConfig, source_.get()));
    PREFIXD_CHECK(credentials_ != nullptr);
  }
  ~FetchingCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    PREFIXD_CHECK(false);  // server/auth.h does that work.
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  const std::unique_ptr<TlsSource> source_;  // Asked as long as the server lives.
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(
    const TlsPaths& paths, absl::Duration check_period) {
  const Stamps stamps = TlsSource::StampsOf(paths);
  PREFIXD_ASSIGN_OR_RETURN(TlsMaterial material, LoadTls(paths, absl::Now()));
  WarnOfExpiry(paths, material);
  return std::make_shared<FetchingCredentials>(
      std::make_unique<TlsSource>(paths, stamps, std::move(material), check_period));
}

}  // namespace prefixd
