// Pictures and golden answers that the vision tests share.
#ifndef PREFIXD_TESTS_VISION_VISION_FIXTURE_H_
#define PREFIXD_TESTS_VISION_VISION_FIXTURE_H_

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include <openssl/sha.h>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "engine/vision/image_decoder.h"

namespace prefixd {

inline std::string ReadGolden(const std::string& name) {
  std::ifstream file(std::string(PREFIXD_SOURCE_DIR "/tests/golden/vision/") + name,
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline nlohmann::json GoldenCases() { return nlohmann::json::parse(ReadGolden("cases.json")); }

// Lower-case hex.
inline std::string Sha256Of(const void* data, size_t size) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(static_cast<const unsigned char*>(data), size, digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

inline std::string PixelDigest(const RgbImage& image) {
  return Sha256Of(image.pixels.data(), image.pixels.size());
}

}  // namespace prefixd

#endif  // PREFIXD_TESTS_VISION_VISION_FIXTURE_H_
