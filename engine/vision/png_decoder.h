// PNG to RGB through libpng's classic reader. Pure function; safe from any thread.
//
// Of 16-bit samples the high byte is kept, as Pillow does for colour. Gamma and colour profiles are
// ignored. Of an animation the default image is decoded.
#ifndef PREFIXD_ENGINE_VISION_PNG_DECODER_H_
#define PREFIXD_ENGINE_VISION_PNG_DECODER_H_

#include <array>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/vision/image_decoder.h"
#include "engine/vision/image_probe.h"

namespace prefixd {

// Fills out->pixels, [header.height][header.width][3]. Alpha is composited over `background` with
// Pillow's paste formula, or dropped if that is nullopt.
// Requires: `header` came from ProbePng(bytes) and `out` has its size.
// Errors: INVALID_ARGUMENT, reason IMAGE_CORRUPT.
absl::Status DecodePng(absl::string_view bytes, const ImageHeader& header,
                       const std::optional<std::array<uint8_t, 3>>& background, RgbImage* out);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_PNG_DECODER_H_
