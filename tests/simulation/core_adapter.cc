#include "tests/simulation/core_adapter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace prefixd::simulation {
namespace {

class Sink final : public EventSink {
 public:
  Sink(LiveRequest* request, const Core::Callbacks* callbacks)
      : request_(request), callbacks_(callbacks) {}
  void OnEvent(Event event) override { callbacks_->on_event(request_, std::move(event)); }
  bool Writable() const override { return !request_->stalled; }

 private:
  LiveRequest* const request_;
  const Core::Callbacks* const callbacks_;
};

StepLoopOptions OptionsOf(const Config& config) {
  StepLoopOptions options;
  options.model_name = "simulated";
  options.max_batch_tokens = static_cast<int32_t>(config.max_batch);
  options.prefill_chunk = static_cast<int32_t>(config.chunk);
  options.max_running = static_cast<int32_t>(config.max_running);
  options.max_output_tokens = static_cast<int32_t>(config.max_output);
  options.check_invariants = true;
  return options;
}

Request RequestOf(const LiveRequest& live) {
  const RequestSpec& spec = live.spec;
  Request request;
  request.id = absl::StrCat(spec.id);
  request.tenant = absl::StrCat("tenant-", spec.tenant);
  request.sampling = SamplingOf(spec);
  request.stopping = StoppingOf(spec);
  request.output.num_choices = static_cast<int32_t>(spec.choices);
  request.output.token_ids = true;
  if (spec.logprobs > 0) request.output.logprobs = static_cast<int32_t>(spec.logprobs - 1);
  request.deadline = live.deadline;
  request.priority = static_cast<int32_t>(spec.priority);
  request.bypass_prefix_cache = spec.bypass != 0;
  if (spec.salt != 0) request.cache_salt = absl::StrCat("salt-", spec.salt);
  return request;
}

// Pixels name the owner of the features, the picture, and the request that brings them.
Prompt PromptOf(const Config& config, const LiveRequest& live) {
  Prompt prompt;
  prompt.token_ids = live.oracle.token_ids();
  for (const Oracle::Image& image : live.oracle.images()) {
    prompt.images.push_back(
        {.row_begin = image.row_begin,
         .num_rows = static_cast<int32_t>(config.image_rows),
         .pixels = {static_cast<float>(FeatureOwner(live.spec)), static_cast<float>(image.media),
                    static_cast<float>(live.spec.id)}});
  }
  return prompt;
}

}  // namespace

Core::Core(const Config& config, Backend* backend, std::unique_ptr<Model> model,
           std::unique_ptr<KvPool> pool, const Clock* clock, Callbacks callbacks)
    : config_(config), tokenizer_(config.vocab), clock_(clock), callbacks_(std::move(callbacks)) {
  const auto find = [this](const ActiveRequest& active) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [&](const Entry& entry) { return entry.active == &active; });
  };
  auto loop = StepLoop::Create(OptionsOf(config), backend, std::move(model), std::move(pool),
                               &tokenizer_, clock_,
                               {.on_scheduled =
                                    [this, find](const ActiveRequest& active) {
                                      callbacks_.on_scheduled(find(active)->request);
                                    },
                                .on_end =
                                    [this, find](const ActiveRequest& active) {
                                      const auto entry = find(active);
                                      callbacks_.on_end(entry->request);
                                      entries_.erase(entry);
                                    }});
  PREFIXD_CHECK(loop.ok());
  loop_ = *std::move(loop);
}

Core::~Core() = default;

void Core::Submit(LiveRequest* request) {
  auto active = std::make_unique<ActiveRequest>();
  active->request = RequestOf(*request);
  active->prompt = PromptOf(config_, *request);
  active->sink = std::make_shared<Sink>(request, &callbacks_);
  active->handle = std::make_shared<RequestHandle>();
  active->submitted = request->submitted;
  entries_.push_back({request, active.get()});
  loop_->Accept(std::move(active));
}

void Core::Cancel(LiveRequest* request, bool draining) {
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return e.request == request; });
  if (entry == entries_.end()) return;
  entry->active->handle->stop = draining ? StopCause::kDraining : StopCause::kCancelled;
}

EngineStats Core::Stats() const {
  EngineStats stats;
  loop_->FillStats(&stats);
  return stats;
}

void Core::FindTables(std::vector<Table>* tables) const {
  tables->clear();
  for (const Entry& entry : entries_) {
    for (const auto& sequence : entry.active->choices) {
      if (sequence->finished || sequence->kv.num_pages() == 0) continue;
      tables->push_back({entry.request, sequence->choice, &sequence->kv});
    }
  }
}

void Core::CountClaims(absl::Span<const Table> tables, absl::Span<int32_t> claims) const {
  std::fill(claims.begin(), claims.end(), 0);
  for (const Table& table : tables) {
    for (int layer = 0; layer < table.kv->num_layers(); ++layer) {
      for (const int32_t page : table.pages(layer)) ++claims[static_cast<size_t>(page)];
    }
  }
}

}  // namespace prefixd::simulation
