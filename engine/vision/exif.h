// The one fact that the daemon takes from EXIF: how the camera was held.
#ifndef PREFIXD_ENGINE_VISION_EXIF_H_
#define PREFIXD_ENGINE_VISION_EXIF_H_

#include "absl/strings/string_view.h"
#include "engine/vision/image_decoder.h"

namespace prefixd {

// Returns the orientation (1..8) in the first directory of a TIFF block of either byte order;
// 1 if there is none, it is out of range or the block is malformed. Reads inside `tiff` only and
// follows one offset, so no block can make it loop.
int ExifOrientation(absl::string_view tiff);

// Returns the upright picture. Requires: 1 <= orientation <= 8.
RgbImage ApplyOrientation(RgbImage image, int orientation);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_EXIF_H_
