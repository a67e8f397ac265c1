// The certificate files of the server, checked before they are used: a broken pair must not take
// the place of one that works.
#ifndef PREFIXD_SERVER_TLS_FILES_H_
#define PREFIXD_SERVER_TLS_FILES_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace prefixd {

inline constexpr size_t kMaxPemBytes = 1 << 20;
// A certificate that ends within this time is warned of.
inline constexpr absl::Duration kTlsExpiryWarning = absl::Hours(14 * 24);

struct TlsPaths {
  std::string cert;       // PEM: the server's certificate, then those between it and the root.
  std::string key;        // PEM, not encrypted; not open to everybody.
  std::string client_ca;  // PEM: who may issue clients' certificates; empty: none are asked for.
};

struct TlsMaterial {
  std::string cert, key, client_ca;  // The files' contents.
  absl::Time expires;                // Of the server's certificate.
};

// Reads the files. Errors name the file: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT for a file
// that is no PEM or empty, an encrypted key, a key that belongs to another certificate, and a
// certificate that is not valid at `now` (of the wall clock).
absl::StatusOr<TlsMaterial> LoadTls(const TlsPaths& paths, absl::Time now);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TLS_FILES_H_
