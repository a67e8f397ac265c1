// JPEG to RGB through libjpeg: integer-slow DCT and smooth chroma upsampling as Pillow, warnings
// are errors. Pure function; safe from any thread.
#ifndef PREFIXD_ENGINE_VISION_JPEG_DECODER_H_
#define PREFIXD_ENGINE_VISION_JPEG_DECODER_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/vision/image_decoder.h"
#include "engine/vision/image_probe.h"

namespace prefixd {

// Fills out->pixels, [header.height][header.width][3]. CMYK is taken as inverted (Adobe) and
// converted without a colour profile, as Pillow does.
// Requires: `header` came from ProbeJpeg(bytes) and `out` has its size.
// Errors: INVALID_ARGUMENT, reason IMAGE_CORRUPT or IMAGE_TOO_LARGE.
absl::Status DecodeJpeg(absl::string_view bytes, const ImageHeader& header,
                        const ImageLimits& limits, RgbImage* out);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_JPEG_DECODER_H_
