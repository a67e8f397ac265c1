// What one request may ask for; published by ModelService. The first group is fixed, the second
// comes from options.
#ifndef PREFIXD_SERVER_REQUEST_LIMITS_H_
#define PREFIXD_SERVER_REQUEST_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "engine/classification.h"
#include "server/options.h"

namespace prefixd {

inline constexpr int kMaxIdBytes = 128;  // Request ids, model names and salts.
inline constexpr int kMaxMessages = 1024;
inline constexpr int kMaxParts = 64;  // Of a message or a prompt.
inline constexpr int kMaxMimeTypeBytes = 64;
inline constexpr int kMaxChoices = 8;
inline constexpr int kMaxLogprobs = 20;
inline constexpr int kMaxStopStrings = 16;
inline constexpr int kMaxStopStringBytes = 256;
inline constexpr int kMaxStopTokenIds = 64;
inline constexpr int kMaxLogitBias = 1024;
inline constexpr int kMaxPriority = 100;
inline constexpr int kMinClassNames = 2;
inline constexpr int kMaxLabelPrefixBytes = 256;
inline constexpr int kMaxEnsemble = 6;
inline constexpr int kMaxTemperature = 100;  // Of probabilities of classes.
inline constexpr int kMaxContinuationBytes = 65536;
inline constexpr absl::Duration kMaxSoftTimeLimit = absl::Seconds(600);

struct RequestLimits {
  uint64_t max_prompt_bytes = 1 << 20;
  uint64_t max_image_bytes = 16 << 20;
  int32_t max_images = 8;
  uint64_t max_request_bytes = 32 << 20;
  ClassificationOptions classification;
  absl::Duration default_deadline = absl::Seconds(120);
  absl::Duration max_deadline = absl::Seconds(600);
};

inline RequestLimits LimitsFromOptions(const ServerOptions& options) {
  return {.max_prompt_bytes = options.engine.max_prompt_bytes,
          .max_image_bytes = options.engine.max_image_bytes,
          .max_images = options.engine.max_images,
          .max_request_bytes = options.max_request_bytes,
          .classification = options.engine.classification,
          .default_deadline = options.default_deadline,
          .max_deadline = options.max_deadline};
}

}  // namespace prefixd

#endif  // PREFIXD_SERVER_REQUEST_LIMITS_H_
