// StepLoop: how requests end, and what their receipts say.
#include "engine/step_loop.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {
namespace {

void EraseEnded(RequestList* requests) {
  std::erase_if(*requests, [](const auto& request) { return request->ended; });
}

}  // namespace

void StepLoop::FinishChoice(ActiveRequest* request, Sequence* sequence, FinishReason reason) {
  sequence->finished = true;
  ++finishes_[static_cast<size_t>(reason)];
  Retire(sequence);
  ChoiceFinishedEvent event{.choice = sequence->choice, .reason = reason};
  if (reason == FinishReason::kStopString) event.stop_string = sequence->streamer.matched_stop();
  if (reason == FinishReason::kEos || reason == FinishReason::kStopToken) {
    event.stop_token = sequence->generated.back();
  }
  request->sink->OnEvent(std::move(event));
  const bool all = std::all_of(request->choices.begin(), request->choices.end(),
                               [](const auto& choice) { return choice->finished; });
  if (all) FinishRequest(request);
}

void StepLoop::FinishRequest(ActiveRequest* request) {
  const absl::Time now = clock_->Now();
  const bool has_token = request->first_token != absl::Time();
  const bool prefilled = request->prefilled != absl::Time();
  FinishedEvent event;
  event.usage = {.prompt_tokens = request->prompt_rows(),
                 .cached_prompt_tokens = request->receipt.hit_tokens,
                 .image_tokens = request->prompt.num_image_tokens(),
                 .recomputed_tokens = request->recomputed_rows};
  for (const auto& choice : request->choices) {
    event.usage.completion_tokens +=
        static_cast<int32_t>(std::max(choice->generated.size(), choice->num_sent));
  }
  event.cache = ReceiptOf(*request);
  event.retention = RetentionReceiptOf(*request);
  event.timings = {.queue = request->scheduled - request->submitted,
                   .prefill = (prefilled ? request->prefilled : now) - request->scheduled,
                   .first_token = (has_token ? request->first_token : now) - request->submitted,
                   .total = now - request->submitted};
  histograms_.request_seconds.Observe(absl::ToDoubleSeconds(event.timings.total));
  histograms_.prompt_tokens.Observe(event.usage.prompt_tokens);
  histograms_.generated_tokens.Observe(event.usage.completion_tokens);
  if (has_token) {
    const double seconds = absl::ToDoubleSeconds(now - request->first_token);
    histograms_.decode_seconds.Observe(seconds);
    const int32_t later = event.usage.completion_tokens - request->request.output.num_choices;
    if (later > 0) histograms_.time_per_output_token_seconds.Observe(seconds / later);
  }
  ++finished_;
  End(request, event);
  Guard(request);  // Takes the prompt.
}

CacheReceipt StepLoop::ReceiptOf(const ActiveRequest& request) const {
  CacheReceipt receipt = request.receipt;
  for (const ImageProgress& image : request.images) {
    switch (image.source) {
      case FeatureSource::kNone:
        ++receipt.images_in_prefix;
        break;
      case FeatureSource::kCache:
        ++receipt.feature_hits;
        break;
      case FeatureSource::kTower:
        ++receipt.images_encoded;
        break;
    }
  }
  receipt.evicted_tokens = static_cast<int32_t>(DroppedSlots(request) / cache_.num_layers());
  receipt.kv_bytes = static_cast<uint64_t>(request.most_pages) * options_.page_bytes;
  return receipt;
}

// Sums of receipts, so that the totals are what clients were told.
void StepLoop::AddToTotals(const ActiveRequest& request) {
  const CacheReceipt receipt = ReceiptOf(request);
  const uint64_t hits = static_cast<uint64_t>(receipt.hit_tokens);
  const uint64_t computed = static_cast<uint64_t>(receipt.computed_tokens);
  recomputed_ += static_cast<uint64_t>(request.recomputed_rows);
  AddToRetentionTotals(request);
  totals_.computed_tokens += computed;
  tenant_totals_[request.tenant].prompt_tokens += hits + computed;
  tenant_totals_[request.tenant].cached_tokens += hits;
  if (request.started) ++totals_.misses[static_cast<size_t>(receipt.miss)];
  if (!request.prompt.root_key) return;
  // Hits come before what was computed, so an image's rows are hits as far as those reach.
  uint64_t image_hits = 0, image_rows = 0;
  for (const PromptImage& image : request.prompt.images) {
    const auto rows_before = [&image](uint64_t end) {
      return static_cast<uint64_t>(
          std::clamp<int64_t>(static_cast<int64_t>(end) - image.row_begin, 0, image.num_rows));
    };
    image_hits += rows_before(hits);
    image_rows += rows_before(hits + computed);
  }
  totals_.image_query_tokens += image_rows;
  totals_.text_query_tokens += hits + computed - image_rows;
  totals_.image_hit_tokens += image_hits;
  totals_.text_hit_tokens += hits - image_hits;
  totals_.feature_hits += static_cast<uint64_t>(receipt.feature_hits);
  totals_.tower_runs += static_cast<uint64_t>(receipt.images_encoded);
}

void StepLoop::TimeUp(ActiveRequest* request) {
  if (!request->started) Announce(request);
  if (request->beams) {
    FinishBeams(request, /*with_alive=*/true, FinishReason::kTimeLimit);
    return;
  }
  for (const auto& choice : request->choices) {
    if (choice->finished) continue;
    std::string text = choice->streamer.Finish();
    if (!text.empty() && !PREFIXD_PLANTED(kTimeLimitDropsHeldText)) {
      request->sink->OnEvent(DeltaEvent{.choice = choice->choice, .text = std::move(text)});
    }
    FinishChoice(request, choice.get(), FinishReason::kTimeLimit);
  }
}

void StepLoop::Fail(ActiveRequest* request, absl::Status status) {
  if (request->ended && !PREFIXD_PLANTED(kDoubleTerminal)) return;
  ++failed_;
  End(request, FailedEvent{std::move(status)});
}

void StepLoop::End(ActiveRequest* request, Event terminal) {
  PREFIXD_CHECK(!request->ended || PREFIXD_PLANTED(kDoubleTerminal));
  request->ended = true;
  calm_ = false;
  for (const auto& choice : request->choices) Retire(choice.get());
  AddToTotals(*request);
  listener_.on_end(*request);
  request->sink->OnEvent(std::move(terminal));
}

// Steps in flight may still read the pages.
void StepLoop::Retire(Sequence* sequence) {
  calm_ = false;
  runner_->Forget(sequence);
  sequence->draws_out = 0;
  retired_.emplace_back(runner_->launched_steps(), std::move(sequence->kv));
  sequence->kv = KvSequence(cache_.num_layers(), retired_.back().second.tenant());
}

void StepLoop::FreeRetired() {
  const uint64_t completed = runner_->completed_steps();
  std::erase_if(retired_, [completed](const auto& retired) { return retired.first <= completed; });
}

void StepLoop::Sweep() {
  EraseEnded(&waiting_);
  EraseEnded(&running_);
  FreeRetired();
}

void StepLoop::FailAll(const absl::Status& status) {
  for (const auto& request : running_) Fail(request.get(), status);
  for (const auto& request : waiting_) Fail(request.get(), status);
  Sweep();
}

}  // namespace prefixd
