// gRPC server credentials whose certificates follow their files.
#ifndef PREFIXD_SERVER_TLS_CREDENTIALS_H_
#define PREFIXD_SERVER_TLS_CREDENTIALS_H_

#include <memory>

#include <grpcpp/security/server_credentials.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/tls_files.h"

namespace prefixd {

// How often the files are looked at, at most: with the first handshake after this time.
inline constexpr absl::Duration kTlsCheckPeriod = absl::Seconds(10);

// Reads the files and returns credentials for one listener. TLS 1.2 and 1.3. With a client CA every
// client must show a certificate that it issued. When the files change, new connections get the new
// ones; files that LoadTls refuses are reported in the log and the last good ones kept. Open
// connections go on.
// Errors: those of LoadTls.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(
    const TlsPaths& paths, absl::Duration check_period = kTlsCheckPeriod);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TLS_CREDENTIALS_H_
