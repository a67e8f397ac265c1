// The reasons (google.rpc.ErrorInfo.reason) of calls that are refused at the door; the others are
// the engine's (engine/error_reasons.h). docs/errors.md explains each.
#ifndef PREFIXD_SERVER_AUTH_REASONS_H_
#define PREFIXD_SERVER_AUTH_REASONS_H_

namespace prefixd::reason {

inline constexpr char kUnauthenticated[] = "UNAUTHENTICATED";
inline constexpr char kPermissionDenied[] = "PERMISSION_DENIED";
inline constexpr char kTooManyBadTokens[] = "TOO_MANY_BAD_TOKENS";

}  // namespace prefixd::reason

#endif  // PREFIXD_SERVER_AUTH_REASONS_H_
