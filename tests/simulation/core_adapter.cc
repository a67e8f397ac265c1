#include "tests/simulation/core_adapter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace prefixd::simulation {
namespace {

class Sink final : public EventSink {
 public:
  Sink(LiveRequest* request, const Core::Callbacks* callbacks, PrefixRegistry* registry,
       std::shared_ptr<PrefixEntry> pins)
      : request_(request), callbacks_(callbacks), registry_(registry), pins_(std::move(pins)) {}
  void OnEvent(Event event) override {
    if (pins_ != nullptr && std::holds_alternative<FailedEvent>(event)) registry_->Remove(*pins_);
    callbacks_->on_event(request_, std::move(event));
  }
  bool Writable() const override { return !request_->stalled; }

 private:
  LiveRequest* const request_;
  const Core::Callbacks* const callbacks_;
  PrefixRegistry* const registry_;
  const std::shared_ptr<PrefixEntry> pins_;  // The prefix that it computes; null: none.
};

std::string TenantName(int64_t tenant) { return absl::StrCat("tenant-", tenant); }
std::string SaltOf(const RequestSpec& spec) {
  return spec.salt == 0 ? "" : absl::StrCat("salt-", spec.salt);
}
std::string PrefixName(int64_t id) { return absl::StrCat("prefixes/p", id); }

StepLoopOptions OptionsOf(const Config& config, const std::vector<TenantSpec>& tenants,
                          PrefixRegistry* registry) {
  StepLoopOptions options;
  options.model_name = "simulated";
  options.max_batch_tokens = static_cast<int32_t>(config.max_batch);
  options.prefill_chunk = static_cast<int32_t>(config.chunk);
  options.max_running = static_cast<int32_t>(config.max_running);
  options.max_output_tokens = static_cast<int32_t>(config.max_output);
  options.reserve_all = config.reserve != 0;
  options.pinned_share = static_cast<double>(config.pinned_share) / 100;
  options.feature_cache_memory = static_cast<uint64_t>(config.features);
  options.page_bytes = 1;
  options.key_bits = static_cast<int>(config.key_bits);
  options.prefixes = registry;
  for (const TenantSpec& tenant : tenants) {
    options.tenants.push_back({.name = TenantName(static_cast<int64_t>(options.tenants.size())),
                               .weight = static_cast<double>(tenant.weight),
                               .page_share = static_cast<double>(tenant.share) / 100,
                               .page_floor = static_cast<double>(tenant.floor) / 100,
                               .max_running = static_cast<int32_t>(tenant.max_running)});
  }
  const auto layers = static_cast<int>(config.layers);
  auto retention = RetentionCatalogue::Create({.retention = "shared"}, layers);
  PREFIXD_CHECK(retention.ok());
  options.retention = std::make_shared<const RetentionCatalogue>(*std::move(retention));
  options.check_invariants = true;
  return options;
}

Request RequestOf(const LiveRequest& live) {
  const RequestSpec& spec = live.spec;
  Request request;
  request.id = absl::StrCat(spec.id);
  request.tenant = TenantName(spec.tenant);
  request.sampling = SamplingOf(spec);
  request.stopping = StoppingOf(spec);
  request.output.num_choices = static_cast<int32_t>(spec.choices);
  request.output.token_ids = true;
  if (spec.logprobs > 0) request.output.logprobs = static_cast<int32_t>(spec.logprobs - 1);
  request.deadline = live.deadline;
  request.priority = static_cast<int32_t>(spec.priority);
  request.bypass_prefix_cache = spec.bypass != 0;
  request.cache_salt = SaltOf(spec);
  request.retention = RetentionOf(spec);
  return request;
}

// Pixels name the owner of the features, the picture, and the request that brings them.
Prompt PromptOf(const Config& config, const LiveRequest& live) {
  Prompt prompt;
  prompt.token_ids = live.oracle.token_ids();
  for (const Oracle::Image& image : live.oracle.images()) {
    PromptImage& added = prompt.images.emplace_back();
    added.row_begin = image.row_begin;
    added.num_rows = static_cast<int32_t>(config.image_rows);
    added.media_id[0] = static_cast<uint8_t>(image.media + 1);
    added.pixels = std::make_shared<const std::vector<float>>(
        std::vector<float>{static_cast<float>(FeatureOwner(live.spec)),
                           static_cast<float>(image.media), static_cast<float>(live.spec.id)});
  }
  if (config.cache != 0 && live.spec.bypass == 0) {
    ShareUnder(RootKey({.tenant = TenantName(live.spec.tenant), .salt = SaltOf(live.spec)}),
               &prompt);
  }
  return prompt;
}

}  // namespace

Core::Core(const Config& config, const std::vector<TenantSpec>& tenants, Backend* backend,
           std::unique_ptr<Model> model, std::unique_ptr<KvPool> pool, const Clock* clock,
           Callbacks callbacks)
    : config_(config), tokenizer_(config.vocab), clock_(clock), callbacks_(std::move(callbacks)) {
  const auto find = [this](const ActiveRequest& active) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [&](const Entry& entry) { return entry.active == &active; });
  };
  auto loop = StepLoop::Create(OptionsOf(config, tenants, &registry_), backend, std::move(model),
                               std::move(pool), &tokenizer_, clock_,
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
  active->prefix_rows = request->oracle.prefix_rows();
  active->tenant = static_cast<int32_t>(request->spec.tenant);
  if (request->spec.pin != 0) active->pins = Reserve(*request);
  active->sink = std::make_shared<Sink>(request, &callbacks_, &registry_, active->pins);
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

std::shared_ptr<PrefixEntry> Core::Reserve(const LiveRequest& request) {
  const RequestSpec& spec = request.spec;
  constexpr int32_t kNoLimit = 1 << 20;
  auto entry = registry_.Reserve({.tenant = TenantName(spec.tenant),
                                  .id = absl::StrCat("p", spec.id),
                                  .ttl = absl::Microseconds(spec.pin),
                                  .cache_salt = SaltOf(spec)},
                                 {.total = kNoLimit, .per_tenant = kNoLimit});
  PREFIXD_CHECK(entry.ok());
  pins_[spec.id] = *entry;
  return *entry;
}

bool Core::IsPinned(const LiveRequest& request) const {
  const auto pin = pins_.find(request.spec.id);
  return pin != pins_.end() && registry_.IsAlive(*pin->second);
}

int32_t Core::PinnedTokens(const LiveRequest& request) const {
  const auto info =
      registry_.Get(TenantName(request.spec.tenant), PrefixName(request.spec.id), clock_->Now());
  return info.ok() ? info->pinned_tokens : 0;
}

void Core::Release(const LiveRequest& request) {
  // NOT_FOUND: it is not ready, or has expired.
  (void)registry_.Release(TenantName(request.spec.tenant), PrefixName(request.spec.id));
}

Core::Look Core::LookAt(const LiveRequest& request) const {
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return e.request == &request; });
  PREFIXD_CHECK(entry != entries_.end());
  const ActiveRequest& active = *entry->active;
  return {.waiting = active.phase == ActiveRequest::Phase::kWaiting,
          .parked = active.parked,
          .column_waits = active.column_waits,
          .image_waits = active.image_waits,
          .decodes = active.phase == ActiveRequest::Phase::kDecode,
          .unfinished = active.unfinished_choices(),
          .preemptions = active.receipt.preemptions};
}

EngineStats Core::Stats() const {
  EngineStats stats;
  loop_->FillStats(&stats);
  return stats;
}

int32_t Core::IndexedRows(const LiveRequest& request) const {
  return loop_->CountCached(PromptOf(config_, request));
}

void Core::FindTables(std::vector<Table>* tables) const {
  tables->clear();
  for (const Entry& entry : entries_) {
    for (const auto& sequence : entry.active->choices) {
      if (sequence->kv.num_pages() == 0) continue;
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
  index().ForEachPage([claims](PageId page, bool) { ++claims[static_cast<size_t>(page)]; });
  snapshots().ForEachPage([claims](PageId page, bool) { ++claims[static_cast<size_t>(page)]; });
}

}  // namespace prefixd::simulation
