// Reads an image file's structure without a decoder library and without allocating: every limit is
// checked here, before any raster exists. Pure functions; safe from any thread.
#ifndef PREFIXD_ENGINE_VISION_IMAGE_PROBE_H_
#define PREFIXD_ENGINE_VISION_IMAGE_PROBE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/vision/image_decoder.h"

namespace prefixd {

enum class ImageFormat { kJpeg, kPng };

struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  int width = 0;   // As stored, before orientation.
  int height = 0;  // As stored.
  int num_components = 0;
  bool interlaced = false;         // PNG: Adam7.
  uint64_t coefficient_bytes = 0;  // JPEG with more than one scan: the whole image's DCT blocks.
  int orientation = 1;             // EXIF, 1..8.
  uint64_t image_bytes = 0;        // Up to and with the end marker; what follows is not decoded.
};

// What may follow an image's end marker.
inline constexpr uint64_t kMaxTrailingBytes = 64 << 10;

// Errors: INVALID_ARGUMENT with an image reason.
absl::StatusOr<ImageHeader> ProbeImage(absl::string_view bytes, const ImageLimits& limits);

// The parts of ProbeImage. Require: `bytes` starts with the format's magic.
absl::StatusOr<ImageHeader> ProbeJpeg(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ProbePng(absl::string_view bytes, const ImageLimits& limits);

// Checks sides, pixels and aspect. A width or height of 0 is IMAGE_CORRUPT.
absl::Status CheckImageSize(uint64_t width, uint64_t height, const ImageLimits& limits);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_PROBE_H_
