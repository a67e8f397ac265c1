#include "engine/vision/image_probe.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/vision/image_errors.h"

namespace prefixd {

absl::Status CheckImageSize(uint64_t width, uint64_t height, const ImageLimits& limits) {
  if (width == 0 || height == 0) return ImageCorrupt("image width or height is 0");
  const uint64_t longer = std::max(width, height);
  const uint64_t shorter = std::min(width, height);
  if (longer > static_cast<uint64_t>(limits.max_side)) {
    return ImageTooLarge("image side in pixels", longer, limits.max_side);
  }
  if (width * height > limits.max_pixels) {  // Both fit 31 bits.
    return ImageTooLarge("image size in pixels", width * height, limits.max_pixels);
  }
  if (shorter < static_cast<uint64_t>(limits.min_side)) {
    return ImageTooLarge("image side in pixels (a lower limit)", shorter, limits.min_side);
  }
  if (longer > shorter * static_cast<uint64_t>(limits.max_aspect)) {
    return ImageTooLarge("image aspect ratio", (longer + shorter - 1) / shorter, limits.max_aspect);
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> ProbeImage(absl::string_view bytes, const ImageLimits& limits) {
  if (bytes.empty()) return ImageCorrupt("image is empty");
  if (bytes.size() > limits.max_bytes) {
    return ImageTooLarge("image file in bytes", bytes.size(), limits.max_bytes);
  }
  if (bytes.substr(0, 3) == "\xFF\xD8\xFF") return ProbeJpeg(bytes, limits);
  if (bytes.substr(0, 8) == "\x89PNG\r\n\x1A\n") return ProbePng(bytes, limits);
  return ImageUnsupported("image is neither JPEG nor PNG");
}

}  // namespace prefixd
