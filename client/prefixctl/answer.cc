#include "client/prefixctl/answer.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/prefixctl/proto_time.h"

namespace prefixd::ctl {

namespace {

// Why the rest was computed, in words for a line.
std::string MissText(v1::CacheMissReason miss) {
  switch (miss) {
    case v1::CACHE_MISS_REASON_UNSPECIFIED:
    case v1::CACHE_MISS_REASON_NONE:
      return "";
    case v1::CACHE_MISS_REASON_BYPASSED:
      return "; the cache was bypassed";
    case v1::CACHE_MISS_REASON_NOT_CACHED:
      return "; the rest is new to the cache";
    case v1::CACHE_MISS_REASON_EVICTED:
      return "; the rest was evicted";
    case v1::CACHE_MISS_REASON_DIVERGED:
      return "; the rest differs from what is cached";
    case v1::CACHE_MISS_REASON_NO_SCORES:
      return "; the rest is cached without the scores that the budget needs";
    default:
      return absl::StrCat("; ", CacheMissName(miss));
  }
}

}  // namespace

void Answer::Add(const v1::GenerateResponse& event) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted:
      started = event.started();
      break;
    case v1::GenerateResponse::kDelta:
      if (event.delta().index() != 0) break;
      text += event.delta().text();
      logprobs.insert(logprobs.end(), event.delta().logprobs().begin(),
                      event.delta().logprobs().end());
      break;
    case v1::GenerateResponse::kChoiceFinished:
      if (event.choice_finished().index() == 0) finish_reason = event.choice_finished().reason();
      break;
    case v1::GenerateResponse::kFinished:
      finished = event.finished();
      complete = true;
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      break;  // An event of a newer server.
  }
}

std::string FinishReasonName(v1::FinishReason reason) {
  const std::string& name = v1::FinishReason_Name(reason);
  if (name.empty()) return absl::StrCat("reason_", static_cast<int>(reason));
  return absl::AsciiStrToLower(absl::StripPrefix(name, "FINISH_REASON_"));
}

std::string CacheMissName(v1::CacheMissReason miss) {
  const std::string& name = v1::CacheMissReason_Name(miss);
  if (name.empty()) return absl::StrCat("reason_", static_cast<int>(miss));
  return absl::AsciiStrToLower(absl::StripPrefix(name, "CACHE_MISS_REASON_"));
}

std::string CacheSummary(const Answer& answer) {
  if (!answer.finished.receipt().has_cache()) return "";
  const v1::CacheReceipt& cache = answer.finished.receipt().cache();
  const int64_t prompt = answer.finished.usage().prompt_tokens();
  std::string line = absl::StrCat("cached ", cache.hit_tokens(), "/", prompt, " tokens");
  if (prompt > 0) {
    absl::StrAppendFormat(&line, " (%d %%)", 100 * int64_t{cache.hit_tokens()} / prompt);
  }
  const int cached = cache.images_in_prefix() + cache.feature_hits();
  if (cache.images() == 1) {
    absl::StrAppend(&line, ", image: ", cached > 0 ? "cached" : "computed");
  } else if (cache.images() > 1) {
    absl::StrAppend(&line, ", images: ", cached, " of ", cache.images(), " cached");
  }
  absl::StrAppend(&line, MissText(cache.miss()));
  if (cache.preemptions() > 0) absl::StrAppend(&line, "; preempted ", cache.preemptions(), "x");
  return line;
}

std::string Summary(const Answer& answer) {
  const v1::Usage& usage = answer.finished.usage();
  const v1::Timings& timings = answer.finished.timings();
  const double decode_seconds = (ToMillis(timings.total()) - ToMillis(timings.first_token())) / 1e3;
  std::string line = absl::StrFormat(
      "prompt %d tokens (image %d, cached %d), answer %d tokens (%s, seed %d); queue %.1f ms, "
      "prefill %.1f ms, first token %.1f ms, total %.1f ms",
      usage.prompt_tokens(), usage.image_tokens(), usage.cached_prompt_tokens(),
      usage.completion_tokens(), FinishReasonName(answer.finish_reason), answer.started.seed(),
      ToMillis(timings.queue()), ToMillis(timings.prefill()), ToMillis(timings.first_token()),
      ToMillis(timings.total()));
  if (usage.completion_tokens() > 1 && decode_seconds > 0) {
    absl::StrAppendFormat(&line, ", %.1f tokens/s",
                          (usage.completion_tokens() - 1) / decode_seconds);
  }
  return line;
}

}  // namespace prefixd::ctl
