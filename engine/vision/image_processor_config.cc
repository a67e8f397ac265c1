#include "engine/vision/image_processor_config.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr int kMaxSide = 4096;

// Null counts as absent, as the reference's from_dict does.
const json* Find(const json& root, const char* key) {
  const auto it = root.find(key);
  return it == root.end() || it->is_null() ? nullptr : &*it;
}

class ConfigReader {
 public:
  ConfigReader(const json& root, const std::string& where) : root_(root), where_(where) {}

  absl::Status Invalid(absl::string_view key, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": ", key, " ", what));
  }

  absl::Status Unimplemented(absl::string_view key, absl::string_view what) const {
    return absl::UnimplementedError(absl::StrCat(where_, ": ", key, " ", what));
  }

  absl::Status ReadBool(const char* key, bool* out) const {
    const json* value = Find(root_, key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_boolean()) return Invalid(key, "is not true or false");
    *out = value->get<bool>();
    return absl::OkStatus();
  }

  absl::Status ReadString(const char* key, std::string* out) const {
    const json* value = Find(root_, key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_string()) return Invalid(key, "is not a string");
    *out = value->get<std::string>();
    return absl::OkStatus();
  }

  absl::Status ReadSide(const json& value, absl::string_view key, int* out) const {
    if (!value.is_number_integer()) return Invalid(key, "is not a whole number");
    const bool fits = value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
                      value.get<uint64_t>() <= kMaxSide;
    if (!fits) return Invalid(key, absl::StrCat("is ", value.dump(), ", expected 1..", kMaxSide));
    *out = value.get<int>();
    return absl::OkStatus();
  }

  // An object {"height": h, "width": w}.
  absl::Status ReadHeightAndWidth(const json& value, const char* key, int* height,
                                  int* width) const {
    const json* h = Find(value, "height");
    const json* w = Find(value, "width");
    if (h == nullptr || w == nullptr) return Invalid(key, "lacks height and width");
    PREFIXD_RETURN_IF_ERROR(ReadSide(*h, absl::StrCat(key, ".height"), height));
    return ReadSide(*w, absl::StrCat(key, ".width"), width);
  }

  absl::Status ReadSize(ImageProcessorConfig* config) const {
    const json* value = Find(root_, "size");
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_object()) return ReadSide(*value, "size", &config->shortest_edge);
    if (const json* edge = Find(*value, "shortest_edge"); edge != nullptr) {
      if (Find(*value, "longest_edge") != nullptr) {
        return Unimplemented("size.longest_edge", "is not supported");
      }
      return ReadSide(*edge, "size.shortest_edge", &config->shortest_edge);
    }
    config->shortest_edge = 0;
    return ReadHeightAndWidth(*value, "size", &config->resize_height, &config->resize_width);
  }

  absl::Status ReadCropSize(ImageProcessorConfig* config) const {
    const json* value = Find(root_, "crop_size");
    if (value == nullptr) return absl::OkStatus();
    if (value->is_object()) {
      return ReadHeightAndWidth(*value, "crop_size", &config->crop_height, &config->crop_width);
    }
    PREFIXD_RETURN_IF_ERROR(ReadSide(*value, "crop_size", &config->crop_height));
    config->crop_width = config->crop_height;
    return absl::OkStatus();
  }

  absl::Status ReadCropRounding(bool* half_even) const {
    const json* value = Find(root_, "crop_rounding");
    if (value == nullptr) return absl::OkStatus();
    const bool known = value->is_string() && (*value == "half_even" || *value == "down");
    if (!known) return Invalid("crop_rounding", "is neither \"half_even\" nor \"down\"");
    *half_even = *value == "half_even";
    return absl::OkStatus();
  }

  absl::Status ReadResample(Resample* out) const {
    const json* value = Find(root_, "resample");
    if (value == nullptr) return absl::OkStatus();
    // In the order of Pillow's numbers.
    static constexpr Resample kByNumber[] = {Resample::kNearest,  Resample::kLanczos,
                                             Resample::kBilinear, Resample::kBicubic,
                                             Resample::kBox,      Resample::kHamming};
    if (!value->is_number_unsigned() || value->get<uint64_t>() > 5) {
      return Invalid("resample", "is not a whole number in 0..5");
    }
    *out = kByNumber[value->get<uint64_t>()];
    return absl::OkStatus();
  }

  absl::Status ReadRescaleFactor(double* out) const {
    const json* value = Find(root_, "rescale_factor");
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_number()) return Invalid("rescale_factor", "is not a number");
    *out = value->get<double>();
    if (!(std::isfinite(*out) && *out > 0 && *out <= 1)) {
      return Invalid("rescale_factor", "is not in (0, 1]");
    }
    return absl::OkStatus();
  }

  // A list of three numbers, or one for all channels.
  absl::Status ReadChannels(const char* key, std::array<float, 3>* out) const {
    const json* value = Find(root_, key);
    if (value == nullptr) return absl::OkStatus();
    if (value->is_array() && value->size() != 3) {
      return Invalid(key, absl::StrCat("has ", value->size(), " numbers, expected 3"));
    }
    for (size_t c = 0; c < 3; ++c) {
      const json& number = value->is_array() ? (*value)[c] : *value;
      if (!number.is_number()) return Invalid(key, "is not a list of 3 numbers");
      const double x = number.get<double>();
      if (!std::isfinite(x) || std::fabs(x) > 1e6) return Invalid(key, "is not finite");
      (*out)[c] = static_cast<float>(x);
    }
    return absl::OkStatus();
  }

 private:
  const json& root_;
  const std::string& where_;
};

// The class of the reference whose defaults hold.
absl::Status ReadDefaults(const ConfigReader& reader, ImageProcessorConfig* config) {
  std::string type;
  for (const char* key : {"feature_extractor_type", "image_processor_type"}) {
    PREFIXD_RETURN_IF_ERROR(reader.ReadString(key, &type));
  }
  if (!absl::StartsWith(type, "Siglip")) return absl::OkStatus();
  config->shortest_edge = 0;
  config->resize_height = config->resize_width = 224;
  config->mean = config->std = {0.5f, 0.5f, 0.5f};
  return absl::OkStatus();
}

absl::Status CheckSides(const ConfigReader& reader, const ImageProcessorConfig& config,
                        int image_size) {
  if (!config.do_resize) return reader.Unimplemented("do_resize", "is false, expected true");
  const int least_height = config.shortest_edge > 0 ? config.shortest_edge : config.resize_height;
  const int least_width = config.shortest_edge > 0 ? config.shortest_edge : config.resize_width;
  if (!config.do_center_crop) {
    if (config.shortest_edge > 0) {
      return reader.Unimplemented("do_center_crop", "is false with size.shortest_edge");
    }
    if (least_height != image_size || least_width != image_size) {
      return reader.Invalid("size", absl::StrCat("is ", least_height, " x ", least_width,
                                                 ", the vision tower takes ", image_size));
    }
    return absl::OkStatus();
  }
  if (config.crop_height > least_height || config.crop_width > least_width) {
    return reader.Invalid("crop_size",
                          absl::StrCat("is ", config.crop_height, " x ", config.crop_width,
                                       ", larger than size ", least_height, " x ", least_width));
  }
  if (config.crop_height != image_size || config.crop_width != image_size) {
    return reader.Invalid("crop_size",
                          absl::StrCat("is ", config.crop_height, " x ", config.crop_width,
                                       ", the vision tower takes ", image_size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageProcessorConfig> ParseImageProcessorConfig(const json& root,
                                                               const std::string& where,
                                                               int image_size) {
  const ConfigReader reader(root, where);
  if (!root.is_object()) return reader.Invalid("image processor", "is not an object");
  ImageProcessorConfig config;
  PREFIXD_RETURN_IF_ERROR(ReadDefaults(reader, &config));
  PREFIXD_RETURN_IF_ERROR(reader.ReadBool("do_resize", &config.do_resize));
  PREFIXD_RETURN_IF_ERROR(reader.ReadSize(&config));
  PREFIXD_RETURN_IF_ERROR(reader.ReadResample(&config.resample));
  // SigLIP's processors have no crop and leave the key out.
  config.do_center_crop = config.shortest_edge > 0;
  PREFIXD_RETURN_IF_ERROR(reader.ReadBool("do_center_crop", &config.do_center_crop));
  PREFIXD_RETURN_IF_ERROR(reader.ReadCropSize(&config));
  PREFIXD_RETURN_IF_ERROR(reader.ReadCropRounding(&config.crop_half_even));
  PREFIXD_RETURN_IF_ERROR(reader.ReadBool("do_rescale", &config.do_rescale));
  PREFIXD_RETURN_IF_ERROR(reader.ReadRescaleFactor(&config.rescale_factor));
  PREFIXD_RETURN_IF_ERROR(reader.ReadBool("do_normalize", &config.do_normalize));
  PREFIXD_RETURN_IF_ERROR(reader.ReadChannels("image_mean", &config.mean));
  PREFIXD_RETURN_IF_ERROR(reader.ReadChannels("image_std", &config.std));
  for (const float s : config.std) {
    if (!(s >= 1e-6f)) return reader.Invalid("image_std", "is not above 0");
  }
  bool do_pad = false;
  PREFIXD_RETURN_IF_ERROR(reader.ReadBool("do_pad", &do_pad));
  if (do_pad) return reader.Unimplemented("do_pad", "is true, expected false");
  if (!config.do_center_crop) {
    config.crop_height = config.resize_height;
    config.crop_width = config.resize_width;
  }
  PREFIXD_RETURN_IF_ERROR(CheckSides(reader, config, image_size));
  return config;
}

}  // namespace prefixd
