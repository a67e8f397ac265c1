#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "engine/vision/decode_memory.h"
#include "engine/vision/exif.h"
#include "engine/vision/image_decoder.h"
#include "engine/vision/image_probe.h"
#include "engine/vision/jpeg_decoder.h"
#include "engine/vision/png_decoder.h"

namespace prefixd {
namespace {

constexpr absl::Duration kMaxMemoryWait = absl::Seconds(5);
constexpr uint64_t kLibraryBytes = 8 << 20;  // Row buffers and tables of the libraries.

uint64_t DecodeBytes(const ImageHeader& header, bool turns) {
  // At most 2^25 pixels of a few bytes by default; no limit that an operator can set overflows,
  // since sides are below 2^31.
  const uint64_t pixels = static_cast<uint64_t>(header.width) * header.height;
  const uint64_t rasters = turns ? 2 : 1;
  const uint64_t interlaced_bytes = header.interlaced ? pixels * 4 : 0;
  return pixels * 3 * rasters + interlaced_bytes + header.coefficient_bytes + kLibraryBytes;
}

class InProcessImageDecoder : public ImageDecoder {
 public:
  explicit InProcessImageDecoder(const ImageDecodeOptions& options)
      : options_(options), memory_(options.limits.max_decode_bytes, kMaxMemoryWait) {}

  absl::StatusOr<RgbImage> Decode(absl::string_view bytes) const override {
    PREFIXD_ASSIGN_OR_RETURN(const ImageHeader header, ProbeImage(bytes, options_.limits));
    const int orientation = options_.apply_exif_orientation ? header.orientation : 1;
    PREFIXD_ASSIGN_OR_RETURN(const DecodeMemory::Lease lease,
                             memory_.Take(DecodeBytes(header, orientation != 1)));
    RgbImage image;
    image.width = header.width;
    image.height = header.height;
    image.pixels.resize(static_cast<size_t>(header.width) * header.height * 3);
    if (header.format == ImageFormat::kJpeg) {
      PREFIXD_RETURN_IF_ERROR(DecodeJpeg(bytes, header, options_.limits, &image));
    } else {
      PREFIXD_RETURN_IF_ERROR(DecodePng(bytes, header, options_.background, &image));
    }
    return ApplyOrientation(std::move(image), orientation);
  }

 private:
  const ImageDecodeOptions options_;
  mutable DecodeMemory memory_;  // Thread-safe.
};

}  // namespace

std::unique_ptr<ImageDecoder> CreateInProcessImageDecoder(const ImageDecodeOptions& options) {
  return std::make_unique<InProcessImageDecoder>(options);
}

}  // namespace prefixd
