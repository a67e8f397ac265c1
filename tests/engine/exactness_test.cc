// A request's bytes (token ids, text, log-probs) are those of its lonely run, whatever runs beside
// it, however its prefill is cut, on however many threads; at every level that this CPU can run.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/backend/registry.h"
#include "engine/engine.h"

namespace prefixd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kStreams = 8;  // Ten times slower, and about memory and threads, not bits.
constexpr int kShortest = 20, kLongest = 300;  // Prompt tokens.
#else
constexpr int kStreams = 24;
constexpr int kShortest = 20, kLongest = 800;  // Prompt tokens: over several blocks of 256 slots.
#endif
constexpr int32_t kFirstTextToken = 300, kLastTextToken = 560;

// The bytes of one stream, as a client could compare them.
struct Stream {
  std::string text, ids, logprobs;
  absl::Status status;
  bool operator==(const Stream& other) const {
    return text == other.text && ids == other.ids && logprobs == other.logprobs &&
           status == other.status;
  }
};

class Collector final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      stream_.text += delta->text;
      for (const int32_t id : delta->token_ids) absl::StrAppend(&stream_.ids, id, " ");
      for (const LogprobEntry& entry : delta->logprobs) {
        Append(entry.sampled);
        for (const TokenLogprob& top : entry.top) Append(top);
      }
    } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
      stream_.status = failed->status;
      done_ = true;
    } else if (std::holds_alternative<FinishedEvent>(event)) {
      done_ = true;
    }
    condition_.notify_all();
  }

  Stream Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return done_; });
    return stream_;
  }

 private:
  void Append(const TokenLogprob& entry) {
    char bits[sizeof(float)];
    std::memcpy(bits, &entry.logprob, sizeof(bits));
    absl::StrAppend(&stream_.logprobs, entry.token_id, ":");
    stream_.logprobs.append(bits, sizeof(bits));
  }

  std::mutex mutex_;
  std::condition_variable condition_;
  Stream stream_;
  bool done_ = false;
};

// Prompts of very different lengths; some with a picture, some sampled, some with two choices.
Request MakeRequest(int index, const std::string& picture) {
  std::mt19937 random(static_cast<uint32_t>(index));
  std::uniform_int_distribution<int32_t> token(kFirstTextToken, kLastTextToken);
  TokenInput input;
  const int length = kShortest + (kLongest - kShortest) * index / (kStreams - 1);
  for (int i = 0; i < length; ++i) input.ids.push_back(token(random));
  if (index % 4 == 1) {
    input.ids[10] = 566;  // The placeholder.
    input.images.push_back({picture});
  }
  Request request;
  request.id = absl::StrCat("stream-", index);
  request.input = std::move(input);
  request.sampling.temperature = index % 3 == 0 ? 0.0f : 1.5f;
  request.sampling.seed = 1000 + static_cast<uint64_t>(index);
  request.stopping.max_tokens = 6 + index % 20;
  request.stopping.ignore_eos = true;
  request.output.token_ids = true;
  request.output.logprobs = 5;
  request.output.num_choices = index % 8 == 2 ? 2 : 1;
  return request;
}

class Exactness : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Engine> Open(int threads, int chunk, int max_batch_tokens) {
    EngineOptions options;
    options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
    options.backend = "cpu";
    options.cpu_level = GetParam();
    options.threads = threads;
    options.prefill_chunk = chunk;
    options.max_batch_tokens = max_batch_tokens;
    options.kv_memory_bytes = 1 << 30;
    options.check_invariants = true;
    auto engine = Engine::Open(options, &clock_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    EXPECT_TRUE((*engine)->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
    return *std::move(engine);
  }

  std::vector<Stream> RunTogether(Engine* engine) {
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < kStreams; ++i) {
      sinks.push_back(std::make_shared<Collector>());
      EXPECT_TRUE(engine->Submit(MakeRequest(i, picture_), sinks.back()).ok());
    }
    std::vector<Stream> streams;
    for (const auto& sink : sinks) streams.push_back(sink->Wait());
    return streams;
  }

  std::vector<Stream> RunAlone(Engine* engine) {
    std::vector<Stream> streams;
    for (int i = 0; i < kStreams; ++i) {
      auto sink = std::make_shared<Collector>();
      Request request = MakeRequest(i, picture_);
      request.bypass_prefix_cache = true;
      EXPECT_TRUE(engine->Submit(std::move(request), sink).ok());
      streams.push_back(sink->Wait());
    }
    return streams;
  }

  const MonotonicClock clock_;
  const std::string picture_ =
      *ReadFile(PREFIXD_SOURCE_DIR "/models/demo/pictures/picture-15.png", 1 << 20);
};

TEST_P(Exactness, EveryStreamIsItsLonelyRun) {
  const std::vector<Stream> alone = RunAlone(Open(2, 0, 2048).get());
  for (const Stream& stream : alone) {
    ASSERT_TRUE(stream.status.ok()) << stream.status;
    ASSERT_FALSE(stream.ids.empty());
  }
  const struct {
    int threads, chunk, batch;
  } ways[] = {{1, 7, 256},   {2, 7, 64},    {1, 33, 256}, {2, 33, 256},
              {1, 250, 256}, {2, 250, 512}, {1, 0, 2048}, {2, 0, 2048}};
  for (const auto& way : ways) {
    const std::unique_ptr<Engine> engine = Open(way.threads, way.chunk, way.batch);
    const std::vector<Stream> together = RunTogether(engine.get());
    for (int i = 0; i < kStreams; ++i) {
      EXPECT_TRUE(together[i] == alone[i])
          << GetParam() << ", " << way.threads << " threads, chunk " << way.chunk << ", stream "
          << i << ":\n  " << together[i].ids << "\n  " << alone[i].ids;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Exactness, ::testing::ValuesIn(SupportedCpuLevels()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace prefixd
