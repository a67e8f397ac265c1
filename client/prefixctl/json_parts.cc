#include "client/prefixctl/json_parts.h"

#include "absl/strings/str_format.h"
#include "client/prefixctl/answer.h"
#include "client/prefixctl/proto_time.h"

namespace prefixd::ctl {

std::string Dump(const Json& json) {
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(line.size());
  for (size_t i = 0; i < line.size(); ++i) {
    const auto byte = static_cast<unsigned char>(line[i]);
    const auto next = static_cast<unsigned char>(i + 1 < line.size() ? line[i + 1] : 0);
    if (byte == 0x7F) {
      out += "\\u007f";
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F.
      absl::StrAppendFormat(&out, "\\u%04x", next);
      ++i;
    } else {
      out += line[i];
    }
  }
  return out;
}

Json ToJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"cached_prompt_tokens", usage.cached_prompt_tokens()},
          {"image_tokens", usage.image_tokens()},
          {"completion_tokens", usage.completion_tokens()}};
}

Json ToJson(const v1::CacheReceipt& cache) {
  return {{"hit_tokens", cache.hit_tokens()},
          {"computed_tokens", cache.computed_tokens()},
          {"evicted_tokens", cache.evicted_tokens()},
          {"images", cache.images()},
          {"images_in_prefix", cache.images_in_prefix()},
          {"feature_hits", cache.feature_hits()},
          {"images_encoded", cache.images_encoded()},
          {"decode_hits", cache.decode_hits()},
          {"kv_bytes", cache.kv_bytes()},
          {"shared_kv_bytes", cache.shared_kv_bytes()},
          {"miss", CacheMissName(cache.miss())},
          {"preemptions", cache.preemptions()}};
}

Json ToJson(const v1::ScoringReceipt& scoring) {
  return {{"candidates", scoring.candidates()}, {"computed_rows", scoring.computed_rows()},
          {"saved_rows", scoring.saved_rows()}, {"pruned_nodes", scoring.pruned_nodes()},
          {"passes", scoring.passes()},         {"context_hits", scoring.context_hits()},
          {"contexts", scoring.contexts()}};
}

Json ScoringTimingsJson(const v1::Timings& timings) {
  return {{"queue", ToMillis(timings.queue())},
          {"prefill", ToMillis(timings.prefill())},
          {"total", ToMillis(timings.total())}};
}

}  // namespace prefixd::ctl
