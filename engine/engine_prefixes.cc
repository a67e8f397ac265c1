// Public calls: pinned prefixes, and what operators ask of the cache.
#include "engine/threaded_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

// Reports the end of a prefix's computation to whoever asked for it.
class PrefixSink final : public EventSink {
 public:
  using Done = std::function<void(absl::StatusOr<PrefixInfo>)>;

  PrefixSink(PrefixRegistry* prefixes, std::shared_ptr<PrefixEntry> entry, const Clock* clock,
             Done done)
      : prefixes_(*prefixes), entry_(std::move(entry)), clock_(*clock), done_(std::move(done)) {}

  void OnEvent(Event event) override {
    if (auto* failed = std::get_if<FailedEvent>(&event)) {
      prefixes_.Remove(*entry_);
      done_(std::move(failed->status));
    } else if (std::holds_alternative<FinishedEvent>(event)) {
      done_(prefixes_.Get(entry_->tenant, entry_->name, clock_.Now()));
    }
  }

 private:
  PrefixRegistry& prefixes_;
  const std::shared_ptr<PrefixEntry> entry_;
  const Clock& clock_;
  const Done done_;
};

}  // namespace

void ThreadedEngine::CreatePrefix(PrefixSpec spec,
                                  std::function<void(absl::StatusOr<PrefixInfo>)> done) {
  const int32_t tenant = TenantIndex(spec.tenant);
  if (tenant < 0) {
    done(UnknownTenant(spec.tenant));
    return;
  }
  if (!parts_.options.prefix_cache) {
    done(MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   "the prefix cache is off (--prefix-cache=false)"));
    return;
  }
  const std::vector<TenantOptions>& tenants = parts_.options.tenants;
  const int32_t total = parts_.options.max_prefixes;
  absl::StatusOr<std::shared_ptr<PrefixEntry>> entry = parts_.prefixes->Reserve(
      spec, {.total = total, .per_tenant = tenants.empty() ? total : tenants[tenant].max_prefixes});
  if (!entry.ok()) {
    done(entry.status());
    return;
  }
  auto active = std::make_unique<ActiveRequest>();
  active->pins = *entry;
  active->sink = std::make_shared<PrefixSink>(parts_.prefixes.get(), *entry, clock_, done);
  // Not a name that a client can give: it may not contain a space.
  active->request.id = absl::StrCat("prefix ", (*entry)->name);
  active->request.tenant = spec.tenant;
  active->request.input = std::move(spec.input);
  active->request.cache_salt = spec.cache_salt;
  active->request.deadline = spec.deadline;
  if (absl::Status status = Enqueue(std::move(active)); !status.ok()) {
    parts_.prefixes->Remove(**entry);
    done(std::move(status));
  }
}

absl::Status ThreadedEngine::ReleasePrefix(absl::string_view tenant, absl::string_view name) {
  PREFIXD_RETURN_IF_ERROR(parts_.prefixes->Release(tenant, name));
  Wake();
  return absl::OkStatus();
}

void ThreadedEngine::FlushCache(std::optional<std::string> tenant,
                                std::function<void(FlushResult)> done) {
  const int32_t index = tenant ? TenantIndex(*tenant) : -1;
  if (tenant && index < 0) {
    done({});
    return;
  }
  const uint64_t image_bytes = parts_.images->Flush(tenant);
  RunOnEngineThread([this, index, image_bytes, done = std::move(done)](StepLoop* loop) {
    FlushResult result = loop != nullptr ? loop->Flush(index) : FlushResult{};
    result.image_bytes = image_bytes;
    if (loop != nullptr) PublishStats();  // Whoever asks after the answer sees what it did.
    done(result);
  });
}

void ThreadedEngine::GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) {
  RunOnEngineThread([max_cells, done = std::move(done)](StepLoop* loop) {
    done(loop != nullptr ? loop->MapPages(max_cells) : PageMap{});
  });
}

void ThreadedEngine::RunOnEngineThread(Command command) {
  {
    MutexLock lock(&mutex_);
    if (thread_runs_ && !thread_gone_) {
      commands_.push_back(std::move(command));
      wake_ = true;
      return;
    }
  }
  command(nullptr);
}

}  // namespace prefixd
