#include "engine/vision/image_errors.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd {

absl::Status ImageTooLarge(absl::string_view what, uint64_t actual, uint64_t limit) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kImageTooLarge,
                   absl::StrCat(what, " is ", actual, ", the limit is ", limit),
                   {{"actual", absl::StrCat(actual)}, {"limit", absl::StrCat(limit)}});
}

absl::Status ImageUnsupported(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kImageFormatUnsupported, message);
}

absl::Status ImageCorrupt(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kImageCorrupt, message);
}

absl::Status DecodeMemoryBusy(uint64_t needed_bytes, uint64_t limit_bytes) {
  ErrorDetail detail;
  detail.reason = reason::kDecodeMemoryBusy;
  detail.metadata = {{"needed_bytes", absl::StrCat(needed_bytes)},
                     {"limit_bytes", absl::StrCat(limit_bytes)}};
  detail.retry_after = absl::Seconds(1);
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("image decode memory is taken: ", needed_bytes,
                                " bytes needed, the limit for all images is ", limit_bytes),
                   detail);
}

}  // namespace prefixd
