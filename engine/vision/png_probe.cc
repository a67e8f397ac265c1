#include "base/status_macros.h"
#include "engine/vision/exif.h"
#include "engine/vision/image_errors.h"
#include "engine/vision/image_probe.h"

namespace prefixd {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr uint64_t kMaxAncillaryChunks = 128;
constexpr uint64_t kMaxAncillaryBytes = 1 << 20;  // In one chunk.
// IDAT and the frames of an animation. At 16 MiB a file with fewer holds 256 bytes a chunk or more.
constexpr uint64_t kMaxDataChunks = 65'536;

uint32_t ReadU32(absl::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

struct PngCounts {
  uint64_t ancillary = 0;
  uint64_t data = 0;
  uint64_t palettes = 0;
  bool has_idat = false;
  bool idat_ended = false;
};

absl::Status ReadIhdr(absl::string_view body, const ImageLimits& limits, ImageHeader* header) {
  if (body.size() != 13) return ImageCorrupt("PNG header chunk does not have 13 bytes");
  const uint64_t width = ReadU32(body, 0), height = ReadU32(body, 4);
  PREFIXD_RETURN_IF_ERROR(CheckImageSize(width, height, limits));
  const auto byte = [body](size_t i) { return static_cast<uint8_t>(body[i]); };
  if (byte(12) > 1) return ImageUnsupported("PNG interlace method is unknown");
  header->format = ImageFormat::kPng;
  header->width = static_cast<int>(width);
  header->height = static_cast<int>(height);
  header->num_components = byte(9) == 2 || byte(9) == 6 ? 3 : 1;
  header->interlaced = byte(12) == 1;
  return absl::OkStatus();
}

absl::Status CountChunk(absl::string_view type, uint64_t length, PngCounts* counts) {
  const bool is_idat = type == "IDAT";
  if (is_idat && counts->idat_ended) return ImageCorrupt("PNG data chunks are not adjacent");
  if (!is_idat && counts->has_idat) counts->idat_ended = true;
  counts->has_idat |= is_idat;
  if (is_idat || type == "fdAT" || type == "fcTL") {
    if (++counts->data > kMaxDataChunks) {
      return ImageTooLarge("number of PNG data chunks", counts->data, kMaxDataChunks);
    }
    return absl::OkStatus();
  }
  const bool critical = (type[0] & 0x20) == 0;
  if (critical) {
    if (type == "IEND") return absl::OkStatus();
    if (type == "PLTE" && ++counts->palettes == 1) return absl::OkStatus();
    return ImageCorrupt("PNG has an unknown or repeated critical chunk");
  }
  if (length > kMaxAncillaryBytes) {
    return ImageTooLarge("PNG ancillary chunk in bytes", length, kMaxAncillaryBytes);
  }
  if (++counts->ancillary > kMaxAncillaryChunks) {
    return ImageTooLarge("number of PNG ancillary chunks", counts->ancillary, kMaxAncillaryChunks);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageHeader> ProbePng(absl::string_view bytes, const ImageLimits& limits) {
  ImageHeader header;
  PngCounts counts;
  bool has_exif = false;
  size_t at = kSignatureBytes;
  for (bool first = true;; first = false) {
    if (bytes.size() - at < 12) return ImageCorrupt("PNG ends before its end chunk");
    const uint64_t length = ReadU32(bytes, at);
    if (length > bytes.size() - at - 12) return ImageCorrupt("PNG ends inside a chunk");
    const absl::string_view type = bytes.substr(at + 4, 4);
    const absl::string_view body = bytes.substr(at + 8, length);
    at += 12 + length;
    if (first) {
      if (type != "IHDR") return ImageCorrupt("PNG does not start with its header chunk");
      PREFIXD_RETURN_IF_ERROR(ReadIhdr(body, limits, &header));
      continue;
    }
    PREFIXD_RETURN_IF_ERROR(CountChunk(type, length, &counts));
    if (type == "eXIf" && !has_exif) {
      has_exif = true;
      header.orientation = ExifOrientation(body);
    }
    if (type == "IEND") break;
  }
  if (!counts.has_idat) return ImageCorrupt("PNG has no data chunk");
  const uint64_t trailing = bytes.size() - at;
  if (trailing > kMaxTrailingBytes) {
    return ImageTooLarge("number of bytes after the image", trailing, kMaxTrailingBytes);
  }
  header.image_bytes = at;
  return header;
}

}  // namespace prefixd
