// RGB pixels to the float tensor that a vision tower takes: resize, crop, rescale, normalise, equal
// bit for bit to the Pillow-based reference processors. Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_H_
#define PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/vision/image_decoder.h"

namespace prefixd {

enum class Resample { kNearest, kLanczos, kBilinear, kBicubic, kBox, kHamming };

// What preprocessor_config.json says.
struct ImageProcessorConfig {
  bool do_resize = true;
  int shortest_edge =
      224;  // > 0: keep the aspect ratio. 0: resize to exactly resize_height x width.
  int resize_height = 0;
  int resize_width = 0;
  Resample resample = Resample::kBicubic;
  bool do_center_crop = true;
  int crop_height = 224;
  int crop_width = 224;
  // Where the crop begins if the margin is odd: half of it rounded to even (torchvision) or down
  // (transformers).
  bool crop_half_even = false;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::array<float, 3> mean = {0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std = {0.26862954f, 0.26130258f, 0.27577711f};
  bool pad_to_square =
      false;  // LLaVA's image_aspect_ratio "pad": paste on a square of the mean colour.
};

class ImageProcessor {
 public:
  // Reads preprocessor_config.json (or processor_config.json's image_processor) of a directory and
  // checks that the result is a square of `image_size` pixels.
  // Errors: INVALID_ARGUMENT or UNIMPLEMENTED naming file and key.
  static absl::StatusOr<ImageProcessor> Load(const std::string& directory, int image_size);

  explicit ImageProcessor(const ImageProcessorConfig& config);

  const ImageProcessorConfig& config() const { return config_; }

  // Returns [3][crop_height][crop_width], channel slowest.
  absl::StatusOr<std::vector<float>> Process(const RgbImage& image) const;

  // Names everything that changes a pixel; part of every image's cache key.
  const std::string& version() const { return version_; }

 private:
  ImageProcessorConfig config_;
  std::array<std::array<float, 256>, 3> lookup_;  // Normalised value by channel and grey level.
  std::string version_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_H_
