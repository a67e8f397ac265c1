// Pillow's resize of 8-bit RGB, bit for bit: windowed filters that widen when shrinking, 22-bit
// fixed point, a pass an axis, each rounded to 8 bits, in Pillow 13's order. Pure functions.
// Source: the behaviour of Pillow 13.0's Image.resize.
#ifndef PREFIXD_ENGINE_VISION_RESIZE_H_
#define PREFIXD_ENGINE_VISION_RESIZE_H_

#include "engine/vision/image_decoder.h"
#include "engine/vision/image_processor.h"

namespace prefixd {

// Requires: every side is at least 1.
RgbImage Resize(const RgbImage& image, int width, int height, Resample resample);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_RESIZE_H_
