#include "engine/options.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

absl::Status OutOfRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat(name, " is ", value, ", the range is [", low, ", ", high, "]"),
                   {{"option", std::string(name)}});
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  if (model_path.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                     "model_path is empty; name a model directory");
  }
  const struct {
    absl::string_view name;
    int64_t value, low, high;
  } ranges[] = {
      {"threads", threads, 0, 256},
      {"max_running", max_running, 1, 4096},
      // A step decodes every running choice, so its budget must hold them all.
      {"max_batch_tokens", max_batch_tokens, max_running, 65536},
      {"prefill_chunk", prefill_chunk, 0, max_batch_tokens},
      {"max_queue", max_queue, 1, 65536},
      {"max_output_tokens", max_output_tokens, 1, 1 << 24},
      {"prep_threads", prep_threads, 1, 64},
      {"max_prompt_bytes", static_cast<int64_t>(max_prompt_bytes), 1, 1 << 28},
      {"max_image_bytes", static_cast<int64_t>(max_image_bytes), 1, 1 << 28},
      {"max_images", max_images, 0, 64},
      {"max_image_memory", static_cast<int64_t>(max_image_memory), 1 << 20, int64_t{1} << 50},
  };
  for (const auto& range : ranges) {
    if (range.value < range.low || range.value > range.high) {
      return OutOfRange(range.name, range.value, range.low, range.high);
    }
  }
  return absl::OkStatus();
}

}  // namespace prefixd
