#include "server/auth.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/log.h"
#include "server/auth_reasons.h"
#include "server/request_limits.h"

namespace prefixd {
namespace {

constexpr char kAuthorization[] = "authorization";
constexpr absl::string_view kScheme = "Bearer ";

// One text for whatever is wrong: a caller learns nothing about tokens.
absl::Status Unauthenticated() {
  return MakeError(absl::StatusCode::kUnauthenticated, reason::kUnauthenticated,
                   "a valid token is needed: authorization: Bearer TOKEN");
}

absl::Status TooManyBadTokens() {
  return MakeError(
      absl::StatusCode::kResourceExhausted, "too many bad tokens came from this address",
      ErrorDetail{.reason = reason::kTooManyBadTokens, .retry_after = FailureLimit::kWindow});
}

// Without tokens.
Principal Anybody(Door door) {
  return {.tenant = "", .max_priority = kMaxPriority, .is_operator = door == Door::kAdmin};
}

}  // namespace

absl::string_view BearerToken(const grpc::ServerContextBase& call) {
  const auto [begin, end] = call.client_metadata().equal_range(kAuthorization);
  if (begin == end || std::next(begin) != end) return "";
  const absl::string_view value(begin->second.data(), begin->second.size());
  if (!absl::StartsWithIgnoreCase(value, kScheme)) return "";
  const absl::string_view token = value.substr(kScheme.size());
  const bool usable = token.size() <= kMaxTokenBytes &&
                      std::all_of(token.begin(), token.end(), absl::ascii_isgraph);
  return usable ? token : "";
}

void Authenticator::Install(std::shared_ptr<const TokenTable> tokens) {
  MutexLock lock(&mutex_);
  tokens_ = std::move(tokens);
}

bool Authenticator::has_tenants() const { return tokens() != nullptr; }

bool Authenticator::has_operators() const {
  const std::shared_ptr<const TokenTable> table = tokens();
  return table != nullptr && table->has_operators();
}

absl::StatusOr<Principal> Authenticator::Admit(const grpc::ServerContextBase& call, Door door) {
  const std::shared_ptr<const TokenTable> table = tokens();
  if (table == nullptr || (door == Door::kAdmin && !table->has_operators())) return Anybody(door);
  const absl::string_view token = BearerToken(call);
  if (token.empty()) return Unauthenticated();
  const std::string peer = PeerKey(call.peer());
  const absl::Time now = clock_.Now();
  if (failures_.Exceeded(peer, now)) return TooManyBadTokens();
  const Principal* const principal = table->Find(token);
  if (principal == nullptr) {
    if (failures_.Count(peer, now)) PREFIXD_LOG(kWarn, "bad tokens peer=", peer, " refusing it");
    return Unauthenticated();
  }
  if (principal->is_operator != (door == Door::kAdmin)) {
    return MakeError(absl::StatusCode::kPermissionDenied, reason::kPermissionDenied,
                     door == Door::kAdmin ? "this needs the token of an operator"
                                          : "this needs the token of a tenant");
  }
  return *principal;
}

absl::StatusOr<Principal> Authenticator::TenantOf(const grpc::ServerContextBase& call) const {
  const std::shared_ptr<const TokenTable> table = tokens();
  if (table == nullptr) return Anybody(Door::kData);
  const Principal* const principal = table->Find(BearerToken(call));
  if (principal == nullptr || principal->is_operator) return Unauthenticated();
  return *principal;
}

std::shared_ptr<const TokenTable> Authenticator::tokens() const {
  MutexLock lock(&mutex_);
  return tokens_;
}

}  // namespace prefixd
