#include <algorithm>
#include <cstring>

#include "base/status_macros.h"
#include "engine/vision/exif.h"
#include "engine/vision/image_errors.h"
#include "engine/vision/image_probe.h"

namespace prefixd {
namespace {

constexpr uint8_t kSof0 = 0xC0, kSof2 = 0xC2, kSof15 = 0xCF, kDht = 0xC4, kJpg = 0xC8, kDac = 0xCC;
constexpr uint8_t kRst0 = 0xD0, kRst7 = 0xD7, kSoi = 0xD8, kEoi = 0xD9, kSos = 0xDA, kDnl = 0xDC;
constexpr uint8_t kDhp = 0xDE, kExp = 0xDF, kApp1 = 0xE1;
constexpr absl::string_view kExifTag("Exif\0\0", 6);

bool IsSof(uint8_t marker) {
  return marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != kJpg && marker != kDac;
}

// Walks the markers of one file from SOI to EOI.
class JpegWalker {
 public:
  JpegWalker(absl::string_view bytes, const ImageLimits& limits) : bytes_(bytes), limits_(limits) {}

  absl::StatusOr<ImageHeader> Walk();

 private:
  uint8_t At(size_t i) const { return static_cast<uint8_t>(bytes_[i]); }
  // Moves past fill bytes and the marker code. Requires: at_ is where a marker must stand.
  absl::StatusOr<uint8_t> NextMarker();
  absl::Status ReadSegment(uint8_t marker);
  absl::Status ReadFrame(uint8_t marker, absl::string_view body);
  void SkipEntropyCodedData();
  absl::StatusOr<ImageHeader> Finish();

  const absl::string_view bytes_;
  const ImageLimits& limits_;
  size_t at_ = 2;
  ImageHeader header_;
  uint64_t frame_coefficient_bytes_ = 0;
  bool has_frame_ = false;
  bool has_exif_ = false;
  bool progressive_ = false;
  int num_scans_ = 0;
};

absl::StatusOr<uint8_t> JpegWalker::NextMarker() {
  if (at_ >= bytes_.size()) return ImageCorrupt("JPEG ends before its end marker");
  if (At(at_) != 0xFF) return ImageCorrupt("JPEG has bytes where a marker must stand");
  while (at_ < bytes_.size() && At(at_) == 0xFF) ++at_;
  if (at_ >= bytes_.size()) return ImageCorrupt("JPEG ends before its end marker");
  return At(at_++);
}

absl::Status JpegWalker::ReadFrame(uint8_t marker, absl::string_view body) {
  if (marker > kSof2) return ImageUnsupported("JPEG is neither baseline nor progressive Huffman");
  if (has_frame_) return ImageCorrupt("JPEG has two frame headers");
  if (body.size() < 6) return ImageCorrupt("JPEG frame header is too short");
  const auto byte = [body](size_t i) { return static_cast<uint8_t>(body[i]); };
  if (byte(0) != 8) return ImageUnsupported("JPEG does not have 8 bits per sample");
  const int height = byte(1) << 8 | byte(2);
  const int width = byte(3) << 8 | byte(4);
  const int components = byte(5);
  if (components != 1 && components != 3 && components != 4) {
    return ImageUnsupported("JPEG does not have 1, 3 or 4 components");
  }
  if (body.size() != 6 + 3 * static_cast<size_t>(components)) {
    return ImageCorrupt("JPEG frame header length does not match its components");
  }
  PREFIXD_RETURN_IF_ERROR(CheckImageSize(width, height, limits_));
  int max_h = 1, max_v = 1;
  for (int c = 0; c < components; ++c) {
    const int h = byte(7 + 3 * c) >> 4, v = byte(7 + 3 * c) & 15;
    if (h < 1 || h > 4 || v < 1 || v > 4) return ImageCorrupt("JPEG sampling factor is not 1..4");
    max_h = std::max(max_h, h);
    max_v = std::max(max_v, v);
  }
  // Every component is stored in whole MCUs: h * v blocks of 64 two-byte coefficients in each.
  const uint64_t mcus = ((width + 8ull * max_h - 1) / (8ull * max_h)) *
                        ((height + 8ull * max_v - 1) / (8ull * max_v));
  for (int c = 0; c < components; ++c) {
    const int h = byte(7 + 3 * c) >> 4, v = byte(7 + 3 * c) & 15;
    frame_coefficient_bytes_ += mcus * static_cast<uint64_t>(h * v) * 128;
  }
  has_frame_ = true;
  progressive_ = marker == kSof2;
  header_.width = width;
  header_.height = height;
  header_.num_components = components;
  return absl::OkStatus();
}

absl::Status JpegWalker::ReadSegment(uint8_t marker) {
  if (bytes_.size() - at_ < 2) return ImageCorrupt("JPEG ends inside a segment");
  const size_t length = static_cast<size_t>(At(at_)) << 8 | At(at_ + 1);
  if (length < 2) return ImageCorrupt("JPEG segment length is below 2");
  if (length > bytes_.size() - at_) return ImageCorrupt("JPEG ends inside a segment");
  const absl::string_view body = bytes_.substr(at_ + 2, length - 2);
  at_ += length;
  if (IsSof(marker)) return ReadFrame(marker, body);
  if (marker == kDnl || marker == kDhp || marker == kExp || marker == kDac) {
    return ImageUnsupported("JPEG is neither baseline nor progressive Huffman");
  }
  if (marker == kApp1 && !has_exif_ && body.substr(0, kExifTag.size()) == kExifTag) {
    has_exif_ = true;
    header_.orientation = ExifOrientation(body.substr(kExifTag.size()));
  }
  if (marker != kSos) return absl::OkStatus();
  if (!has_frame_) return ImageCorrupt("JPEG scan stands before the frame header");
  if (++num_scans_ > limits_.max_jpeg_scans) {
    return ImageTooLarge("number of JPEG scans", num_scans_, limits_.max_jpeg_scans);
  }
  SkipEntropyCodedData();
  return absl::OkStatus();
}

void JpegWalker::SkipEntropyCodedData() {
  while (at_ < bytes_.size()) {
    const void* found = std::memchr(bytes_.data() + at_, 0xFF, bytes_.size() - at_);
    at_ = found == nullptr ? bytes_.size()
                           : static_cast<size_t>(static_cast<const char*>(found) - bytes_.data());
    if (bytes_.size() - at_ < 2) {
      at_ = bytes_.size();
      return;
    }
    const uint8_t next = At(at_ + 1);
    if (next == 0xFF) {
      ++at_;  // A fill byte.
    } else if (next == 0 || (next >= kRst0 && next <= kRst7)) {
      at_ += 2;
    } else {
      return;
    }
  }
}

absl::StatusOr<ImageHeader> JpegWalker::Finish() {
  if (num_scans_ == 0) return ImageCorrupt("JPEG has no scan");
  const uint64_t trailing = bytes_.size() - at_;
  if (trailing > kMaxTrailingBytes) {
    return ImageTooLarge("number of bytes after the image", trailing, kMaxTrailingBytes);
  }
  header_.format = ImageFormat::kJpeg;
  header_.image_bytes = at_;
  if (progressive_ || num_scans_ > 1) header_.coefficient_bytes = frame_coefficient_bytes_;
  return header_;
}

absl::StatusOr<ImageHeader> JpegWalker::Walk() {
  for (;;) {
    PREFIXD_ASSIGN_OR_RETURN(const uint8_t marker, NextMarker());
    if (marker == kEoi) return Finish();
    if (marker < kSof0 || marker == kSoi || (marker >= kRst0 && marker <= kRst7)) {
      return ImageCorrupt("JPEG has a marker where it must not stand");
    }
    PREFIXD_RETURN_IF_ERROR(ReadSegment(marker));
  }
}

}  // namespace

absl::StatusOr<ImageHeader> ProbeJpeg(absl::string_view bytes, const ImageLimits& limits) {
  return JpegWalker(bytes, limits).Walk();
}

}  // namespace prefixd
