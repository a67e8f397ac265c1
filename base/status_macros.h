// Early return on error, for functions that return absl::Status or absl::StatusOr.
#ifndef PREFIXD_BASE_STATUS_MACROS_H_
#define PREFIXD_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PREFIXD_STATUS_CONCAT_INNER(a, b) a##b
#define PREFIXD_STATUS_CONCAT(a, b) PREFIXD_STATUS_CONCAT_INNER(a, b)

#define PREFIXD_RETURN_IF_ERROR(expr)                                 \
  do {                                                                \
    if (absl::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

#define PREFIXD_ASSIGN_OR_RETURN(lhs, expr) \
  PREFIXD_ASSIGN_OR_RETURN_IMPL(PREFIXD_STATUS_CONCAT(status_or_, __LINE__), lhs, expr)

#define PREFIXD_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).status();      \
  lhs = *std::move(tmp)

#endif  // PREFIXD_BASE_STATUS_MACROS_H_
