// Encoded bytes from a stranger to RGB pixels. Limits are checked on the header before any raster
// is allocated. Thread-safe.
#ifndef PREFIXD_ENGINE_VISION_IMAGE_DECODER_H_
#define PREFIXD_ENGINE_VISION_IMAGE_DECODER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// 8-bit RGB, row-major, interleaved.
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;  // [height][width][3].
};

struct ImageLimits {
  uint64_t max_bytes = 16 << 20;  // Encoded.
  int min_side = 4;
  int max_side = 16383;
  uint64_t max_pixels = 33'554'432;
  int max_aspect = 256;  // Longer side / shorter side.
  int max_jpeg_scans = 100;
  uint64_t max_decode_bytes = 512 << 20;  // Decode memory in flight, all images together.
};

struct ImageDecodeOptions {
  ImageLimits limits;
  bool apply_exif_orientation = true;
  // What shows under transparent pixels; nullopt drops alpha (Pillow's convert("RGB"), parity
  // mode).
  std::optional<std::array<uint8_t, 3>> background = std::array<uint8_t, 3>{255, 255, 255};
};

class ImageDecoder {
 public:
  virtual ~ImageDecoder() = default;

  // Decodes a JPEG or PNG by its magic bytes. Errors: INVALID_ARGUMENT, reason IMAGE_TOO_LARGE,
  // IMAGE_FORMAT_UNSUPPORTED or IMAGE_CORRUPT; RESOURCE_EXHAUSTED if the decode memory stays taken.
  // The message comes from a fixed list, plus numbers: never bytes of the image or a library's
  // text.
  virtual absl::StatusOr<RgbImage> Decode(absl::string_view bytes) const = 0;
};

// Decodes in the calling thread.
std::unique_ptr<ImageDecoder> CreateInProcessImageDecoder(const ImageDecodeOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_DECODER_H_
