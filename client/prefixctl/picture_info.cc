#include "client/prefixctl/picture_info.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace prefixd::ctl {
namespace {

constexpr absl::string_view kPngMagic("\x89PNG\r\n\x1A\n", 8);
constexpr absl::string_view kExifTag("Exif\0\0", 6);
constexpr uint32_t kMaxSide = 1 << 24;

// Requires: offset + size <= bytes.size(), size <= 4.
uint32_t BigEndian(absl::string_view bytes, size_t offset, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return value;
}

// Whether the orientation in a TIFF block (EXIF) turns the picture by a quarter.
bool SwapsSides(absl::string_view tiff) {
  constexpr size_t kEntryBytes = 12;
  if (tiff.size() < 8) return false;
  const bool is_big = absl::StartsWith(tiff, absl::string_view("MM\0*", 4));
  if (!is_big && !absl::StartsWith(tiff, absl::string_view("II*\0", 4))) return false;
  const auto read = [&](size_t offset, size_t size) {
    if (is_big) return BigEndian(tiff, offset, size);
    uint32_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(tiff[offset + i]);
    return value;
  };
  const size_t directory = read(4, 4);
  if (directory > tiff.size() - 2) return false;
  const size_t num_entries = read(directory, 2);
  for (size_t i = 0; i < num_entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) return false;
    if (read(entry, 2) != 0x0112) continue;
    const uint32_t orientation = read(entry + 8, 2);
    return orientation >= 5 && orientation <= 8;
  }
  return false;
}

absl::Status Unknown() {
  return absl::InvalidArgumentError("the picture is neither a JPEG nor a PNG with a size");
}

absl::StatusOr<PictureInfo> Checked(absl::string_view media_type, uint32_t width, uint32_t height,
                                    bool swaps_sides) {
  if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) return Unknown();
  if (swaps_sides) std::swap(width, height);
  return PictureInfo{media_type, static_cast<int>(width), static_cast<int>(height)};
}

// Chunks: length, type, body, checksum. The first is IHDR: width, height.
absl::StatusOr<PictureInfo> ReadPng(absl::string_view bytes) {
  if (bytes.size() < 24 || bytes.substr(12, 4) != "IHDR") return Unknown();
  bool swaps_sides = false;
  for (size_t at = kPngMagic.size(); at + 12 <= bytes.size();) {
    const size_t length = BigEndian(bytes, at, 4);
    if (length > bytes.size() - at - 12) break;
    if (bytes.substr(at + 4, 4) == "eXIf") {
      swaps_sides = SwapsSides(bytes.substr(at + 8, length));
      break;
    }
    at += 12 + length;
  }
  return Checked("image/png", BigEndian(bytes, 16, 4), BigEndian(bytes, 20, 4), swaps_sides);
}

// Segments: 0xFF, marker, length with itself, body. A frame header has precision, height, width.
absl::StatusOr<PictureInfo> ReadJpeg(absl::string_view bytes) {
  bool has_exif = false, swaps_sides = false;
  for (size_t at = 2; at + 4 <= bytes.size();) {
    if (BigEndian(bytes, at, 1) != 0xFF) return Unknown();
    const uint32_t marker = BigEndian(bytes, at + 1, 1);
    if (marker == 0xFF) {  // A fill byte.
      ++at;
      continue;
    }
    const size_t length = BigEndian(bytes, at + 2, 2);
    if (length < 2 || length > bytes.size() - at - 2) return Unknown();
    const absl::string_view body = bytes.substr(at + 4, length - 2);
    const bool is_frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame) {
      if (body.size() < 5) return Unknown();
      return Checked("image/jpeg", BigEndian(body, 3, 2), BigEndian(body, 1, 2), swaps_sides);
    }
    if (marker == 0xE1 && !has_exif && absl::StartsWith(body, kExifTag)) {
      has_exif = true;
      swaps_sides = SwapsSides(absl::StripPrefix(body, kExifTag));
    }
    at += 2 + length;
  }
  return Unknown();
}

}  // namespace

absl::StatusOr<PictureInfo> ReadPictureInfo(absl::string_view bytes) {
  if (absl::StartsWith(bytes, kPngMagic)) return ReadPng(bytes);
  if (absl::StartsWith(bytes, "\xFF\xD8")) return ReadJpeg(bytes);
  return Unknown();
}

}  // namespace prefixd::ctl
