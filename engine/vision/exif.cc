#include "engine/vision/exif.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kTypeShort = 3;
constexpr size_t kEntryBytes = 12;

class TiffReader {
 public:
  explicit TiffReader(absl::string_view bytes)
      : bytes_(bytes), big_endian_(bytes.substr(0, 2) == "MM") {}

  bool Has(size_t offset, size_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }

  // Requires: Has(offset, size).
  uint32_t Read(size_t offset, size_t size) const {
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t at = big_endian_ ? i : size - 1 - i;
      value = value << 8 | static_cast<uint8_t>(bytes_[offset + at]);
    }
    return value;
  }

 private:
  absl::string_view bytes_;
  bool big_endian_;
};

}  // namespace

int ExifOrientation(absl::string_view tiff) {
  if (tiff.size() < 8) return 1;
  if (tiff.substr(0, 2) != "MM" && tiff.substr(0, 2) != "II") return 1;
  const TiffReader reader(tiff);
  if (reader.Read(2, 2) != 42) return 1;
  const size_t directory = reader.Read(4, 4);
  if (!reader.Has(directory, 2)) return 1;
  const size_t num_entries = reader.Read(directory, 2);
  for (size_t i = 0; i < num_entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (!reader.Has(entry, kEntryBytes)) return 1;
    if (reader.Read(entry, 2) != kOrientationTag) continue;
    if (reader.Read(entry + 2, 2) != kTypeShort || reader.Read(entry + 4, 4) != 1) return 1;
    const uint32_t value = reader.Read(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

RgbImage ApplyOrientation(RgbImage image, int orientation) {
  PREFIXD_CHECK(orientation >= 1 && orientation <= 8);
  if (orientation == 1) return image;
  const bool transpose = orientation >= 5;
  RgbImage out;
  out.width = transpose ? image.height : image.width;
  out.height = transpose ? image.width : image.height;
  out.pixels.resize(image.pixels.size());
  // Which end of the stored rows and columns the upright picture starts from.
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  uint8_t* target = out.pixels.data();
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x, target += 3) {
      int source_x = transpose ? y : x;
      int source_y = transpose ? x : y;
      if (flip_x) source_x = image.width - 1 - source_x;
      if (flip_y) source_y = image.height - 1 - source_y;
      const uint8_t* source =
          image.pixels.data() + (static_cast<size_t>(source_y) * image.width + source_x) * 3;
      target[0] = source[0];
      target[1] = source[1];
      target[2] = source[2];
    }
  }
  return out;
}

}  // namespace prefixd
