// Collects everything that is wrong with a request, so that the caller learns it at once.
#ifndef PREFIXD_SERVER_VIOLATIONS_H_
#define PREFIXD_SERVER_VIOLATIONS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/error.h"

namespace prefixd {

class Violations {
 public:
  // The first violation gives the error its reason and message. Beyond kMaxListed they are only
  // counted.
  void Add(absl::string_view reason, std::string field, std::string description,
           std::vector<std::pair<std::string, std::string>> metadata = {});

  // Shorthands for PARAMETER_OUT_OF_RANGE. Both numbers go into the text and the metadata.
  void CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high);
  void CheckNumber(absl::string_view field, double value, double low, double high);  // NaN is out.
  void CheckCount(absl::string_view field, absl::string_view things, uint64_t count,
                  uint64_t limit);

  bool empty() const { return total_ == 0; }

  // OK if nothing was added, else INVALID_ARGUMENT with all that is listed.
  absl::Status ToStatus() const;

 private:
  static constexpr size_t kMaxListed = 24;

  size_t total_ = 0;
  ErrorDetail detail_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_VIOLATIONS_H_
