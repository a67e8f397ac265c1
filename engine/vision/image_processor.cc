#include "engine/vision/image_processor.h"

#include <algorithm>
#include <cstring>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/vision/image_errors.h"
#include "engine/vision/image_processor_config.h"
#include "engine/vision/resize.h"

namespace prefixd {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

const char* ResampleName(Resample resample) {
  switch (resample) {
    case Resample::kNearest:
      return "nearest";
    case Resample::kLanczos:
      return "lanczos";
    case Resample::kBilinear:
      return "bilinear";
    case Resample::kBicubic:
      return "bicubic";
    case Resample::kBox:
      return "box";
    case Resample::kHamming:
      return "hamming";
  }
  PREFIXD_CHECK(false);
}

std::string MakeVersion(const ImageProcessorConfig& c) {
  std::string version = "rgb8-pillow13-1";
  if (c.pad_to_square) absl::StrAppend(&version, ";pad=square");
  if (c.do_resize) {
    const std::string size = c.shortest_edge > 0
                                 ? absl::StrCat(c.shortest_edge)
                                 : absl::StrCat(c.resize_height, "x", c.resize_width);
    absl::StrAppend(&version, ";resize=", size, ";filter=", ResampleName(c.resample));
  }
  if (c.do_center_crop) absl::StrAppend(&version, ";crop=", c.crop_height, "x", c.crop_width);
  if (c.do_center_crop && c.crop_half_even) absl::StrAppend(&version, ";rounding=half_even");
  if (c.do_rescale) absl::StrAppendFormat(&version, ";rescale=%.17g", c.rescale_factor);
  if (c.do_normalize || c.pad_to_square) {
    absl::StrAppendFormat(&version, ";mean=%.9g,%.9g,%.9g", c.mean[0], c.mean[1], c.mean[2]);
  }
  if (c.do_normalize) {
    absl::StrAppendFormat(&version, ";std=%.9g,%.9g,%.9g", c.std[0], c.std[1], c.std[2]);
  }
  return version;
}

// Half of a margin >= 0.
size_t CropBegin(int margin, bool half_even) {
  const int half = margin / 2;
  return static_cast<size_t>(half_even && margin % 2 != 0 ? half + half % 2 : half);
}

// The image in the middle of a square of the mean colour, as the original LLaVA pads.
RgbImage PadToSquare(const RgbImage& image, const std::array<float, 3>& mean) {
  if (image.width == image.height) return image;
  const int side = std::max(image.width, image.height);
  RgbImage out{side, side, {}};
  out.pixels.resize(static_cast<size_t>(side) * side * 3);
  for (size_t i = 0; i < out.pixels.size(); ++i) {
    out.pixels[i] = static_cast<uint8_t>(std::clamp(static_cast<int>(mean[i % 3] * 255.0), 0, 255));
  }
  const size_t left = (side - image.width) / 2, top = (side - image.height) / 2;
  const size_t row_bytes = static_cast<size_t>(image.width) * 3;
  for (int y = 0; y < image.height; ++y) {
    std::memcpy(out.pixels.data() + ((top + y) * side + left) * 3,
                image.pixels.data() + y * row_bytes, row_bytes);
  }
  return out;
}

RgbImage ResizeAsConfigured(const RgbImage& image, const ImageProcessorConfig& config) {
  if (config.shortest_edge == 0) {
    return Resize(image, config.resize_width, config.resize_height, config.resample);
  }
  // The long side is truncated, as the reference does.
  const int64_t edge = config.shortest_edge;
  const bool portrait = image.height > image.width;
  const int shorter = std::min(image.width, image.height);
  const int longer = static_cast<int>(edge * std::max(image.width, image.height) / shorter);
  return portrait ? Resize(image, config.shortest_edge, longer, config.resample)
                  : Resize(image, longer, config.shortest_edge, config.resample);
}

}  // namespace

absl::StatusOr<ImageProcessor> ImageProcessor::Load(const std::string& directory, int image_size) {
  std::string path = directory + "/preprocessor_config.json";
  const bool nested = !FileExists(path);
  if (nested) path = directory + "/processor_config.json";
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json file, ReadJsonFile(path, kMaxConfigBytes));
  nlohmann::json root = file;
  if (nested) {
    if (!file.is_object() || !file.contains("image_processor")) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": image_processor is missing"));
    }
    root = file["image_processor"];
  }
  PREFIXD_ASSIGN_OR_RETURN(const ImageProcessorConfig config,
                           ParseImageProcessorConfig(root, path, image_size));
  return ImageProcessor(config);
}

ImageProcessor::ImageProcessor(const ImageProcessorConfig& config)
    : config_(config), version_(MakeVersion(config)) {
  for (size_t c = 0; c < 3; ++c) {
    for (size_t level = 0; level < 256; ++level) {
      float x = static_cast<float>(level);
      if (config.do_rescale) x = static_cast<float>(level * config.rescale_factor);
      if (config.do_normalize) x = (x - config.mean[c]) / config.std[c];
      lookup_[c][level] = x;
    }
  }
}

absl::StatusOr<std::vector<float>> ImageProcessor::Process(const RgbImage& image) const {
  PREFIXD_CHECK(image.width > 0 && image.height > 0);
  PREFIXD_CHECK(image.pixels.size() == static_cast<size_t>(image.width) * image.height * 3);
  RgbImage work = config_.pad_to_square ? PadToSquare(image, config_.mean) : image;
  if (config_.do_resize) work = ResizeAsConfigured(work, config_);
  const int height = config_.crop_height, width = config_.crop_width;
  if (work.height < height || work.width < width ||
      (!config_.do_center_crop && (work.height != height || work.width != width))) {
    return ImageCorrupt("image does not fill the vision tower's input");
  }
  const size_t top = CropBegin(work.height - height, config_.crop_half_even);
  const size_t left = CropBegin(work.width - width, config_.crop_half_even);
  const size_t plane = static_cast<size_t>(height) * width;
  std::vector<float> out(plane * 3);
  for (int y = 0; y < height; ++y) {
    const uint8_t* row = work.pixels.data() + ((top + y) * work.width + left) * 3;
    float* target = out.data() + static_cast<size_t>(y) * width;
    for (int x = 0; x < width; ++x) {
      for (size_t c = 0; c < 3; ++c) target[c * plane + x] = lookup_[c][row[x * 3 + c]];
    }
  }
  return out;
}

}  // namespace prefixd
