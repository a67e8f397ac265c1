// Pages of a list (page_size, page_token). A token is the number of entries before the page.
#ifndef PREFIXD_SERVER_PAGING_H_
#define PREFIXD_SERVER_PAGING_H_

#include <algorithm>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/error_reasons.h"
#include "server/violations.h"

namespace prefixd {

inline constexpr int kDefaultPageSize = 100;
inline constexpr int kMaxPageSize = 1000;

struct Page {
  size_t begin = 0;
  size_t end = 0;
  std::string next_token;  // Empty: the last page.
};

// Errors: INVALID_ARGUMENT for a size outside [0, 1000] or a token that no page gave.
inline absl::StatusOr<Page> ChoosePage(int32_t page_size, const std::string& page_token,
                                       size_t total) {
  Violations violations;
  violations.CheckRange("page_size", page_size, 0, kMaxPageSize);
  uint32_t offset = 0;
  const bool digits =
      page_token.size() <= 9 && page_token.find_first_not_of("0123456789") == std::string::npos;
  if (!page_token.empty() && !(digits && absl::SimpleAtoi(page_token, &offset))) {
    violations.Add(reason::kParameterOutOfRange, "page_token", "not a token of this list");
  }
  if (!violations.empty()) return violations.ToStatus();
  Page page;
  page.begin = std::min<size_t>(offset, total);
  page.end = std::min(
      total, page.begin + static_cast<size_t>(page_size == 0 ? kDefaultPageSize : page_size));
  if (page.end < total) page.next_token = absl::StrCat(page.end);
  return page;
}

}  // namespace prefixd

#endif  // PREFIXD_SERVER_PAGING_H_
