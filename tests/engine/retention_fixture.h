// A StepLoop over a small real model on a watched backend: requests under KV budgets, driven by
// hand, and what their streams say byte by byte.
#ifndef PREFIXD_TESTS_ENGINE_RETENTION_FIXTURE_H_
#define PREFIXD_TESTS_ENGINE_RETENTION_FIXTURE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/engine_parts.h"
#include "tests/engine/spy_backend.h"
#include "tests/engine/stream_family.h"
#include "tests/weights/files.h"
#include "tools/random_model.h"

namespace prefixd::testing {

inline std::string PictureBytes(const std::string& name) {
  return *ReadFile(absl::StrCat(PREFIXD_SOURCE_DIR, "/models/demo/pictures/", name), 1 << 20);
}

inline std::string ReasonOf(const absl::Status& status) {
  return GetErrorDetail(status).value_or(ErrorDetail{}).reason;
}

inline RetentionParams Exact(const std::string& policy, double budget) {
  return {.scope = RetentionScope::kExact, .budget = budget, .policy = policy};
}
inline RetentionParams Shared(const std::string& policy, double budget) {
  return {.scope = RetentionScope::kShared, .budget = budget, .policy = policy};
}

class RetentionLoopTest : public ::testing::Test {
 protected:
  // The tiny LLaVA: 2 layers, 16 rows an image, byte tokens 5..260, placeholder 3.
  static constexpr int kTinyLayers = 2, kTinyImageRows = 16;
  static constexpr int32_t kTinyPlaceholder = 3, kTinyFirstByte = 5;

  void OpenTiny(EngineOptions options = {}) {
    directory_ = std::make_unique<TemporaryDirectory>();
    ASSERT_TRUE(WriteRandomModel({.shape = "tiny-llava", .seed = 3, .dtype = DType::kBF16},
                                 directory_->path())
                    .ok());
    options.model_path = directory_->path();
    Open(options);
  }
  void OpenDemo(EngineOptions options = {}) {
    options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
    Open(options);
  }

  // A fresh loop; what is cached is gone.
  void Build(int32_t num_pages = 1000, StepLoopOptions options = {}) {
    loop_.reset();
    num_pages_ = num_pages;
    options.model_name = "test";
    options.check_invariants = true;
    options.page_bytes = parts_->page_bytes;
    options.retention = parts_->retention;
    options.prefixes = parts_->prefixes.get();
    options.tenants = parts_->options.tenants;
    options.feature_cache_memory = 1 << 20;
    options.guard = {.sample_rate = parts_->options.guard_sample_rate,
                     .min_agreement = parts_->options.guard_min_agreement,
                     .max_drift = parts_->options.guard_max_drift,
                     .budget_step = parts_->options.guard_budget_step};
    auto files = OpenModelFiles(parts_->options.model_path);
    ASSERT_TRUE(files.ok()) << files.status();
    auto model = (*files)->Load(backend_, StepLoop::LimitsFor(options, (*files)->spec()),
                                [](uint64_t, uint64_t) { return true; });
    ASSERT_TRUE(model.ok()) << model.status();
    KvPoolShape shape = parts_->kv_shape;
    shape.num_pages = num_pages;
    auto pool = backend_->CreateKvPool(shape);
    ASSERT_TRUE(pool.ok()) << pool.status();
    auto loop = StepLoop::Create(
        options, backend_, *std::move(model), *std::move(pool), &parts_->prompts->tokenizer(),
        &clock_, {.on_scheduled = [](const auto&) {}, .on_end = [](const auto&) {}});
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  // `pins`: the prefix that the request computes and pins, if any.
  std::shared_ptr<ByteSink> Submit(const Request& request, int32_t tenant = 0,
                                   std::shared_ptr<PrefixEntry> pins = nullptr) {
    auto sink = std::make_shared<ByteSink>();
    auto active = std::make_unique<ActiveRequest>();
    active->request = request;
    active->request.id = absl::StrCat("request-", next_id_++);
    auto prompt = parts_->prompts->Build({.input = request.input,
                                          .tenant = request.tenant,
                                          .cache_salt = request.cache_salt,
                                          .share = !request.bypass_prefix_cache,
                                          .kept = {}},
                                         ImageWork::kDecode);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    active->prompt = *std::move(prompt);
    active->tenant = tenant;
    active->pins = std::move(pins);
    active->sink = sink;
    active->handle = std::make_shared<RequestHandle>();
    active->submitted = clock_.Now();
    loop_->Accept(std::move(active));
    return sink;
  }

  // Steps until nothing is left to do; the bound turns a hang into a failure.
  void RunToEnd() {
    int steps = 0;
    while (loop_->Step()) {
      clock_.Advance(absl::Milliseconds(1));
      ASSERT_LT(++steps, 20'000);
    }
  }

  // Runs one request, which must finish.
  ByteSink Run(const Request& request, int32_t tenant = 0) {
    const std::shared_ptr<ByteSink> sink = Submit(request, tenant);
    RunToEnd();
    EXPECT_TRUE(sink->finished.has_value()) << sink->status;
    if (!sink->finished) sink->finished.emplace();
    return *sink;
  }
  // The same beside nothing: neither reads nor publishes.
  ByteSink RunAlone(Request request) {
    request.bypass_prefix_cache = true;
    return Run(request);
  }
  // Runs one request, which must fail.
  absl::Status RunToFailure(const Request& request, int32_t tenant = 0) {
    const std::shared_ptr<ByteSink> sink = Submit(request, tenant);
    RunToEnd();
    EXPECT_TRUE(sink->ended);
    EXPECT_FALSE(sink->status.ok());
    return sink->status;
  }

  EngineStats Stats() const {
    EngineStats stats;
    loop_->FillStats(&stats);
    return stats;
  }

  // `count` byte tokens; other salts, other tokens.
  static std::vector<int32_t> Bytes(int count, int salt) {
    std::vector<int32_t> ids;
    for (int i = 0; i < count; ++i) ids.push_back(kTinyFirstByte + (i * 37 + salt * 101) % 256);
    return ids;
  }
  // Text, a picture (none: no bytes), text.
  static Request Tiny(int before, const std::string& picture, int after, int salt,
                      RetentionParams retention = {}, int32_t max_tokens = 20) {
    TokenInput input{.ids = Bytes(before, 0)};
    if (!picture.empty()) {
      input.ids.push_back(kTinyPlaceholder);
      input.images.push_back({.bytes = picture});
    }
    const std::vector<int32_t> question = Bytes(after, salt);
    input.ids.insert(input.ids.end(), question.begin(), question.end());
    Request request;
    request.input = std::move(input);
    request.retention = std::move(retention);
    request.sampling.seed = 7;
    request.stopping.max_tokens = max_tokens;
    request.stopping.ignore_eos = true;
    request.output.token_ids = true;
    request.output.logprobs = 2;
    return request;
  }
  // A question about a picture in the chat of the demo model.
  static Request Chat(const std::string& picture, const std::string& question,
                      RetentionParams retention = {}) {
    ChatMessage message;
    if (!picture.empty()) message.parts.emplace_back(ImagePart{.bytes = picture});
    message.parts.emplace_back(TextPart{question});
    Request request;
    request.input = ChatInput{{message}};
    request.retention = std::move(retention);
    request.stopping.max_tokens = 24;
    request.output.token_ids = true;
    request.output.logprobs = 1;
    return request;
  }

  std::function<std::unique_ptr<Backend>()> make_backend_;  // Instead of the CPU's; null: that.
  std::unique_ptr<TemporaryDirectory> directory_;
  ManualClock clock_;
  std::unique_ptr<EngineParts> parts_;
  SpyBackend* backend_ = nullptr;
  std::unique_ptr<StepLoop> loop_;
  int32_t num_pages_ = 0;

 private:
  void Open(EngineOptions options) {
    options.backend = "cpu";
    options.threads = 1;
    absl::StatusOr<EngineParts> parts = OpenEngineParts(options);
    ASSERT_TRUE(parts.ok()) << parts.status();
    loop_.reset();
    parts_ = std::make_unique<EngineParts>(*std::move(parts));
    if (make_backend_ != nullptr) {
      parts_->backend = make_backend_();
      parts_->kv_shape.dtype = parts_->backend->info().default_kv_dtype;
    }
    auto spy = std::make_unique<SpyBackend>(std::move(parts_->backend));
    backend_ = spy.get();
    parts_->backend = std::move(spy);
  }

  int next_id_ = 0;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_RETENTION_FIXTURE_H_
