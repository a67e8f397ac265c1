// The fixed list of messages that a refused image gets, plus numbers. Never bytes of the image.
#ifndef PREFIXD_ENGINE_VISION_IMAGE_ERRORS_H_
#define PREFIXD_ENGINE_VISION_IMAGE_ERRORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// INVALID_ARGUMENT, IMAGE_TOO_LARGE: "<what> is <actual>, the limit is <limit>".
absl::Status ImageTooLarge(absl::string_view what, uint64_t actual, uint64_t limit);

// INVALID_ARGUMENT, IMAGE_FORMAT_UNSUPPORTED. `message` is a literal.
absl::Status ImageUnsupported(absl::string_view message);

// INVALID_ARGUMENT, IMAGE_CORRUPT. `message` is a literal.
absl::Status ImageCorrupt(absl::string_view message);

// RESOURCE_EXHAUSTED, DECODE_MEMORY_BUSY.
absl::Status DecodeMemoryBusy(uint64_t needed_bytes, uint64_t limit_bytes);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_ERRORS_H_
