// Decides who may call. Every method of every service of ours passes here
// (server/guarded_services.h). Thread-safe.
#ifndef PREFIXD_SERVER_AUTH_H_
#define PREFIXD_SERVER_AUTH_H_

#include <memory>
#include <string>

#include <grpcpp/server_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/failure_limit.h"
#include "server/token_table.h"

namespace prefixd {

// Which listener a call came in by.
enum class Door {
  kData,   // For tenants. Without tokens everybody is the one tenant "".
  kAdmin,  // For operators. Without operators' tokens whoever reaches it is one.
};

// Returns the token of the call's `authorization: Bearer TOKEN`; empty if there is not exactly one
// such value, or if it is no token: 1..kMaxTokenBytes printable characters without spaces.
absl::string_view BearerToken(const grpc::ServerContextBase& call);

class Authenticator {
 public:
  // Until Install is called there are no tokens. `clock` must outlive the authenticator.
  explicit Authenticator(const Clock* clock) : clock_(*clock) {}

  // Replaces the tokens, also while calls come in. Calls that were let in go on.
  void Install(std::shared_ptr<const TokenTable> tokens);

  bool has_tenants() const;
  bool has_operators() const;  // With tokens.

  // Returns who calls. Errors: UNAUTHENTICATED, always with the same text; PERMISSION_DENIED for
  // a tenant at the operators' door and the reverse; RESOURCE_EXHAUSTED, TOO_MANY_BAD_TOKENS, for a
  // peer that guesses.
  absl::StatusOr<Principal> Admit(const grpc::ServerContextBase& call, Door door);

  // Returns the tenant of a call that was let in by Door::kData. Errors: UNAUTHENTICATED if its
  // token was withdrawn since.
  absl::StatusOr<Principal> TenantOf(const grpc::ServerContextBase& call) const;

 private:
  std::shared_ptr<const TokenTable> tokens() const;

  const Clock& clock_;
  FailureLimit failures_;
  mutable Mutex mutex_;
  // Null: no tokens. Shared: calls look up while Install replaces it.
  std::shared_ptr<const TokenTable> tokens_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_AUTH_H_
