// Random schedules of a real, tiny model on pools that are too small: sharing, eviction,
// preemption, priorities, tenants, stalls, cancels, deadlines and flushes, with steps and pieces of
// any size, launched ahead or not. Text, token ids and log-prob bits of every stream are those of
// its lonely run, which shares nothing; of a stream that was cut, the beginning is. Most have a KV
// budget of some policy and scope, and keep in every layer what the lonely run keeps.
#ifndef PREFIXD_TESTS_ENGINE_SCHEDULE_BITS_H_
#define PREFIXD_TESTS_ENGINE_SCHEDULE_BITS_H_

#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "engine/engine_parts.h"
#include "tests/engine/ahead_backend.h"
#include "tests/engine/stream_family.h"
#include "tests/weights/files.h"
#include "tools/random_model.h"

namespace prefixd::testing {

struct ScheduleVariant {
  std::string name;
  DType weights;
  DType kv;
  int threads = 1;
  // What computes instead of the CPU; null: the CPU's best level.
  std::function<std::unique_ptr<Backend>()> make_backend;
  int family_size = 48, follow_ups = 12;
  std::string shape = "tiny-llava";
  bool shares_parts = true;  // False: prompts see themselves; no request has scope SHARED.
  // Of a pool, enough for any request, too few for all. 0: what suits the number of layers.
  int min_pages = 0, max_pages = 0;
};

// A tiny model of a family, bf16 weights and f32 KV.
inline ScheduleVariant Shape(const std::string& shape, bool shares_parts = true) {
  ScheduleVariant variant{.name = shape,
                          .weights = DType::kBF16,
                          .kv = DType::kF32,
                          .threads = 2,
                          .shape = shape,
                          .shares_parts = shares_parts};
  for (char& c : variant.name) c = c == '-' ? '_' : c;
  return variant;
}

inline std::string NameOf(const ::testing::TestParamInfo<ScheduleVariant>& info) {
  return info.param.name;
}

class ScheduleBits : public ::testing::TestWithParam<ScheduleVariant> {
 protected:
  struct Stream {
    size_t spec = 0;
    std::shared_ptr<ByteSink> sink;
    std::shared_ptr<RequestHandle> handle;
  };
  struct Totals {
    uint64_t streams = 0, finished = 0, preemptions = 0, hit_tokens = 0, feature_hits = 0;
    uint64_t evicted = 0, collisions = 0, recomputed = 0;
    uint64_t selections = 0, drops = 0, snapshot_hits = 0, snapshots_evicted = 0;
    uint64_t scored = 0, context_hits = 0;
  };

  void SetUp() override {
    ASSERT_TRUE(
        WriteRandomModel({.shape = GetParam().shape, .seed = 3, .dtype = GetParam().weights},
                         directory_.path())
            .ok());
    EngineOptions options;
    options.model_path = directory_.path();
    options.backend = "cpu";
    options.threads = GetParam().threads;
    options.kv_dtype = std::string(DTypeName(GetParam().kv));
    absl::StatusOr<EngineParts> parts = OpenEngineParts(options);
    ASSERT_TRUE(parts.ok()) << parts.status();
    parts_ = std::make_unique<EngineParts>(*std::move(parts));
    if (GetParam().make_backend != nullptr) parts_->backend = GetParam().make_backend();
    Use(std::move(parts_->backend));
    const std::string pictures = PREFIXD_SOURCE_DIR "/models/demo/pictures/";
    std::vector<std::string> encoded;
    if (parts_->model_files->spec().image) {
      encoded = {*ReadFile(absl::StrCat(pictures, "picture-01.png"), 1 << 20),
                 *ReadFile(absl::StrCat(pictures, "picture-15.png"), 1 << 20)};
    }
    family_ = MakeStreamFamily(GetParam().family_size, encoded, /*seed=*/11);
    for (Request& request : family_) {
      std::optional<RetentionScope>& scope = request.retention.scope;
      if (!GetParam().shares_parts && scope) scope = RetentionScope::kExact;
    }
    ChangeFamily();
    RunAlone();
  }

  // Before anything runs.
  virtual void ChangeFamily() {}

  // What computes from now on.
  void Use(std::unique_ptr<Backend> backend) {
    auto ahead = std::make_unique<AheadBackend>(std::move(backend));
    backend_ = ahead.get();
    parts_->backend = std::move(ahead);
  }

  int32_t Draw(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  void BuildLoop(StepLoopOptions options, int32_t num_pages) {
    options.model_name = "tiny";
    options.check_invariants = true;
    auto files = OpenModelFiles(directory_.path());
    ASSERT_TRUE(files.ok()) << files.status();
    auto model =
        (*files)->Load(parts_->backend.get(), StepLoop::LimitsFor(options, (*files)->spec()),
                       [](uint64_t, uint64_t) { return true; });
    ASSERT_TRUE(model.ok()) << model.status();
    KvPoolShape shape = parts_->kv_shape;
    shape.num_pages = num_pages;
    auto pool = parts_->backend->CreateKvPool(shape);
    ASSERT_TRUE(pool.ok()) << pool.status();
    auto loop =
        StepLoop::Create(options, parts_->backend.get(), *std::move(model), *std::move(pool),
                         &parts_->prompts->tokenizer(), &clock_,
                         {.on_scheduled = [](const auto&) {}, .on_end = [](const auto&) {}});
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  Stream Submit(size_t spec, const Request& request, int32_t tenant) {
    Stream stream{.spec = spec, .sink = std::make_shared<ByteSink>()};
    auto active = std::make_unique<ActiveRequest>();
    active->request = request;
    active->request.id = absl::StrCat("stream-", next_id_++);
    auto prompt = parts_->prompts->Build({.input = request.input,
                                          .tenant = request.tenant,
                                          .cache_salt = request.cache_salt,
                                          .share = !request.bypass_prefix_cache,
                                          .kept = {}},
                                         ImageWork::kDecode);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    active->prompt = *std::move(prompt);
    active->tenant = tenant;
    active->sink = stream.sink;
    stream.handle = active->handle = std::make_shared<RequestHandle>();
    active->submitted = clock_.Now();
    loop_->Accept(std::move(active));
    return stream;
  }

  // Steps until nothing is left to do; the bound turns a hang into a failure.
  void RunToEnd() {
    int steps = 0;
    while (loop_->Step()) {
      clock_.Advance(absl::Milliseconds(1));
      ASSERT_LT(++steps, 20'000);
    }
  }

  // What each of the family says alone, with all the room there is.
  void RunAlone() {
    alone_.clear();
    kept_alone_.clear();
    BuildLoop({.max_batch_tokens = 256}, /*num_pages=*/1000);
    for (size_t i = 0; i < family_.size(); ++i) {
      Request request = family_[i];
      request.bypass_prefix_cache = true;
      const Stream stream = Submit(i, request, 0);
      RunToEnd();
      ASSERT_TRUE(stream.sink->finished.has_value()) << stream.sink->status;
      ASSERT_EQ(stream.sink->finished->cache.hit_tokens, 0);
      ASSERT_EQ(stream.sink->choices.size(), static_cast<size_t>(request.output.num_choices));
      alone_.push_back(stream.sink->choices);
      kept_alone_.push_back(stream.sink->finished->retention.kept_tokens);
      if (family_.size() < static_cast<size_t>(GetParam().family_size + GetParam().follow_ups) &&
          i % 4 == 0) {
        family_.push_back(FollowUp(family_[i], alone_[i][0].ids, static_cast<uint32_t>(i)));
      }
    }
    loop_.reset();
  }

  void BuildSmallLoop() {
    num_tenants_ = Draw(1, 3);
    std::vector<TenantOptions> tenants;
    for (int32_t t = 0; t < num_tenants_; ++t) {
      tenants.push_back({.name = absl::StrCat(t),
                         .weight = static_cast<double>(Draw(1, 3)),
                         .page_share = 1.0,
                         .page_floor = Chance(0.5) ? 0.1 : 0.0});
    }
    const int32_t max_running = Draw(3, 10);
    const uint64_t feature_bytes[] = {0, 6000, 1 << 20};  // None, one image, all of them.
    num_pages_ = GetParam().min_pages > 0
                     ? Draw(GetParam().min_pages, GetParam().max_pages)
                     : Draw(60, 110) * parts_->model_files->spec().num_layers / 2;
    backend_->set_ahead(Chance(0.5));
    BuildLoop({.max_batch_tokens = Draw(max_running, 96),
               .prefill_chunk = Chance(0.5) ? Draw(1, 40) : 0,
               .max_running = max_running,
               .reserve_all = Chance(0.2),
               .feature_cache_memory = feature_bytes[Draw(0, 2)],
               .tenants = tenants,
               .key_bits = Chance(0.3) ? Draw(1, 8) : 256},
              num_pages_);
  }

  Stream SubmitAny() {
    const size_t spec = static_cast<size_t>(Draw(0, static_cast<int32_t>(family_.size()) - 1));
    Request request = family_[spec];
    const int32_t tenant = Draw(0, num_tenants_ - 1);
    request.tenant = absl::StrCat(tenant);
    request.cache_salt = Chance(0.1) ? "salt" : "";
    request.bypass_prefix_cache = Chance(0.05);
    if (!request.retention.scope && Chance(0.03)) {
      request.recompute_all = request.bypass_prefix_cache = true;
    }
    request.priority = Chance(0.2) ? Draw(-1, 1) : 0;
    if (Chance(0.05)) request.deadline = clock_.Now() + absl::Milliseconds(Draw(1, 100));
    return Submit(spec, request, tenant);
  }

  void RunSchedule() {
    std::vector<Stream> streams;
    const double arrival = Chance(0.5) ? 0.5 : 0.15;
    const int32_t num_steps = Draw(40, 120);
    for (int step = 0; step < num_steps; ++step) {
      while (Chance(arrival)) streams.push_back(SubmitAny());
      if (!streams.empty()) {
        Stream& any = streams[Draw(0, static_cast<int32_t>(streams.size()) - 1)];
        if (Chance(0.03)) any.handle->stop = StopCause::kCancelled;
        any.sink->writable = Chance(0.8);
        if (Chance(0.01)) loop_->Flush(Chance(0.5) ? -1 : Draw(0, num_tenants_ - 1));
      }
      loop_->Step();
      clock_.Advance(absl::Milliseconds(1));
    }
    for (Stream& stream : streams) stream.sink->writable = true;
    RunToEnd();
    for (const Stream& stream : streams) Check(stream);
  }

  void Check(const Stream& stream) {
    SCOPED_TRACE(absl::StrCat("spec ", stream.spec));
    const ByteSink& sink = *stream.sink;
    const std::vector<ChoiceBytes>& alone = alone_[stream.spec];
    ASSERT_TRUE(sink.ended);
    ++totals_.streams;
    for (size_t c = 0; c < sink.choices.size(); ++c) {
      ASSERT_TRUE(sink.choices[c].IsBeginningOf(alone[c]))
          << "choice " << c << ":\n  " << sink.choices[c].logprobs << "\n  " << alone[c].logprobs
          << "\n  " << ::testing::PrintToString(sink.choices[c].ids) << "\n  "
          << ::testing::PrintToString(alone[c].ids);
    }
    if (!sink.finished) {
      ASSERT_TRUE(absl::IsCancelled(sink.status) || absl::IsDeadlineExceeded(sink.status))
          << sink.status;
      return;
    }
    ASSERT_TRUE(sink.choices == alone);
    ASSERT_EQ(sink.finished->retention.kept_tokens, kept_alone_[stream.spec]);
    ASSERT_EQ(sink.finished->cache.hit_tokens + sink.finished->cache.computed_tokens,
              sink.finished->usage.prompt_tokens);
    ++totals_.finished;
  }

  void EndLoop() {
    EngineStats stats;
    loop_->FillStats(&stats);
    totals_.preemptions += stats.preemptions;
    totals_.recomputed += stats.recomputed_tokens;
    totals_.hit_tokens += stats.cache.text_hit_tokens + stats.cache.image_hit_tokens;
    totals_.feature_hits += stats.cache.feature_hits;
    totals_.evicted += stats.cache.evicted_columns;
    totals_.collisions += stats.cache.collisions;
    totals_.selections += stats.retention.selections;
    totals_.drops += stats.retention.decode_drops;
    totals_.snapshot_hits += stats.retention.snapshot_hits;
    totals_.snapshots_evicted += stats.retention.snapshots_evicted;
    totals_.scored += stats.scoring.requests;
    totals_.context_hits += stats.scoring.context_hits;
    loop_->Flush(-1);
    loop_->FillStats(&(stats = {}));
    ASSERT_EQ(stats.free_pages, num_pages_);
    loop_.reset();
  }

  // `count` schedules, several on each loop, which finds the cache as the last one left it.
  void RunSchedules(int first, int count, int per_loop) {
    for (int schedule = first; schedule < first + count; schedule += per_loop) {
      random_.seed(2 * static_cast<uint32_t>(schedule) + (GetParam().kv == DType::kBF16 ? 1 : 0));
      BuildSmallLoop();
      for (int i = 0; i < per_loop && !HasFatalFailure(); ++i) {
        SCOPED_TRACE(absl::StrCat("PREFIXD_SCHEDULE_FIRST=", schedule, ", schedule ", i));
        RunSchedule();
      }
      if (HasFatalFailure()) return;
      EndLoop();
    }
    std::printf(
        "%s: %d schedules, %lu streams, %lu finished, %lu preemptions, %lu recomputed tokens, %lu "
        "hit tokens, %lu feature hits, %lu columns evicted, %lu collisions, %lu selections, %lu "
        "drops, %lu snapshot hits, %lu snapshots evicted, %lu steps ahead\n",
        GetParam().name.c_str(), count, totals_.streams, totals_.finished, totals_.preemptions,
        totals_.recomputed, totals_.hit_tokens, totals_.feature_hits, totals_.evicted,
        totals_.collisions, totals_.selections, totals_.drops, totals_.snapshot_hits,
        totals_.snapshots_evicted, backend_->steps_ahead);
  }

  const TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<EngineParts> parts_;
  AheadBackend* backend_ = nullptr;
  std::vector<Request> family_;
  std::vector<std::vector<ChoiceBytes>> alone_;   // By request of the family.
  std::vector<std::vector<int32_t>> kept_alone_;  // The same: tokens kept by layer.
  std::unique_ptr<StepLoop> loop_;
  std::mt19937 random_;
  int32_t num_tenants_ = 1, num_pages_ = 0;
  uint64_t next_id_ = 0;
  Totals totals_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_SCHEDULE_BITS_H_
