// The host code of the CUDA backend on the emulated device, whose streams run as late as events let
// them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/cuda_bug.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quantized.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/tiny_decoder.h"

namespace prefixd {
namespace {

using cuda::CudaBug;

constexpr int32_t kPages = 400;

class CudaBackendTest : public ::testing::Test {
 protected:
  void SetUp() override { Restart(0); }
  void TearDown() override {
    cuda::planted_cuda_bug = CudaBug::kNone;
    emu::ResetDevice();
  }

  void Restart(uint64_t seed, size_t total_memory = size_t{1} << 30) {
    emu::ResetDevice();
    emu::SetDeviceOptions(
        {.mode = emu::StreamMode::kLate, .seed = seed, .total_memory = total_memory});
  }
};

// What a schedule of passes sees, pass by pass.
using Trace = std::vector<std::vector<float>>;

struct Schedule {
  uint32_t seed = 1;
  int num_steps = 24;
  int32_t max_prompt = 40;
  bool announce = true;
  bool draws = true;  // Which also lets two steps be in flight.
};

// Random starts, decodes and ends. The trace holds the logits of every pass; with `played` also how
// many came from recordings.
Trace RunSchedule(Backend* backend, const Schedule& schedule, int* played = nullptr) {
  auto decoder = TinyDecoder::Create(backend, kPages).value();
  TinyWorld world(schedule.seed, kPages);
  Trace trace;
  for (int step = 0; step < schedule.num_steps; ++step) {
    const bool starts = world.num_sequences() == 0 || (world.num_sequences() < 9 && step % 6 == 0);
    if (world.num_sequences() > 3 && world.Below(12) == 0) world.End(world.Below(3));
    const TinyPass pass =
        starts ? world.Start(1 + world.Below(schedule.max_prompt), world.Below(2) == 0)
               : world.Decode(*backend);
    const absl::Status status = decoder->Run(pass, schedule.announce);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
    trace.push_back(decoder->Logits(pass).value());
  }
  if (played != nullptr) *played = decoder->num_played();
  return trace;
}

Trace RunOnFresh(DType dtype, bool graphs, const Schedule& schedule, int* played = nullptr) {
  const auto backend = CreateTinyBackend(dtype, /*deterministic=*/true, graphs).value();
  return RunSchedule(backend.get(), schedule, played);
}

TEST_F(CudaBackendTest, RecordedPassesGiveTheBitsOfEagerOnes) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const uint32_t seed : {1, 2}) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << ", seed " << seed);
      Restart(seed);
      const Schedule schedule = {.seed = seed, .num_steps = 40};
      int played = 0;
      const Trace recorded = RunOnFresh(dtype, true, schedule, &played);
      EXPECT_GT(played, 5);
      EXPECT_EQ(recorded, RunOnFresh(dtype, false, schedule));
    }
  }
}

TEST_F(CudaBackendTest, ChangesOfPageTablesAddUpToTheWholeTables) {
  // A pass that is not announced sends its tables whole.
  Schedule schedule = {.seed = 3, .num_steps = 40};
  const Trace announced = RunOnFresh(DType::kF32, true, schedule);
  schedule.announce = false;
  EXPECT_EQ(announced, RunOnFresh(DType::kF32, false, schedule));
}

TEST_F(CudaBackendTest, ALongContextIsRecordedAnew) {
  // Recorded at 200 slots, then a sequence of 530, which the grids of that recording do not cover.
  // The tables have their size from the first sequence.
  const auto trace = [](bool graphs, int* played) {
    const auto backend = CreateTinyBackend(DType::kF32, true, graphs).value();
    auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
    TinyWorld world(5, kPages);
    Trace trace;
    for (int step = 0; step < 11; ++step) {
      if (step == 1 || step == 6) world.End(0);
      const TinyPass pass = step == 0 || step == 6 ? world.Start(530, false)
                            : step == 1            ? world.Start(200, false)
                                                   : world.Decode(*backend);
      if (!decoder->Run(pass).ok()) break;
      const auto logits = decoder->Logits(pass);
      if (!logits.ok()) break;
      trace.push_back(*logits);
    }
    if (played != nullptr) *played = decoder->num_played();
    return trace;
  };
  int played = 0;
  const Trace eager = trace(false, nullptr);
  EXPECT_EQ(trace(true, &played), eager);
  EXPECT_EQ(played, 4);
  cuda::planted_cuda_bug = CudaBug::kStaleGrid;
  EXPECT_NE(trace(true, nullptr), eager) << "the planted bug was not noticed";
  emu::TakeReports();
}

TEST_F(CudaBackendTest, NoticesAStaleTableDelta) {
  const Schedule schedule = {.seed = 3};
  const Trace right = RunOnFresh(DType::kF32, false, schedule);
  cuda::planted_cuda_bug = CudaBug::kStaleTableDelta;
  EXPECT_NE(RunOnFresh(DType::kF32, false, schedule), right);
  emu::TakeReports();  // A table that was never filled names no page.
}

// Many sends in a row, with nothing that waits in between.
Trace SendOften(Backend* backend) {
  constexpr int kRows = 60;
  const OwnedTensor x = backend->NewTensor(kRows, 8).value();
  std::vector<float> values(kRows * 8);
  std::iota(values.begin(), values.end(), 0.0f);
  EXPECT_TRUE(backend->Upload(values, x.view).ok());
  std::vector<OwnedTensor> ys;
  for (int i = 0; i < 12; ++i) {
    ys.push_back(backend->NewTensor(kRows, 8).value());
    const std::vector<int32_t> from = {i, 3 * i, 2 * i}, to = {2 * i, i + 1, 40 + i};
    EXPECT_TRUE(backend->CopyRows(x.view, from, to, ys.back().view).ok());
  }
  Trace trace;
  for (const OwnedTensor& y : ys) {
    EXPECT_TRUE(backend->Download(y.view, absl::MakeSpan(values)).ok());
    trace.push_back(values);
  }
  return trace;
}

TEST_F(CudaBackendTest, AStagingBlockIsFilledAgainOnlyBehindItsFence) {
  const auto run = [] {
    const auto backend = CreateTinyBackend(DType::kF32, false, false).value();
    return SendOften(backend.get());
  };
  const Trace late = run();
  emu::SetDeviceOptions({.mode = emu::StreamMode::kEager});
  EXPECT_EQ(late, run());
  emu::SetDeviceOptions({.mode = emu::StreamMode::kLate});
  cuda::planted_cuda_bug = CudaBug::kReuseBeforeFence;
  EXPECT_NE(run(), late) << "the planted bug was not noticed";
  emu::TakeReports();
}

TEST_F(CudaBackendTest, UploadsAreWholeWhenTheyReturn) {
  const auto backend = CreateTinyBackend(DType::kBF16, false, false).value();
  const OwnedTensor x = backend->NewTensor(70, 300).value();  // Several chunks.
  std::vector<float> values(70 * 300);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 256);
  const std::vector<float> before = values;
  ASSERT_TRUE(backend->Upload(values, x.view).ok());
  std::fill(values.begin(), values.end(), -1.0f);
  ASSERT_TRUE(backend->Download(x.view, absl::MakeSpan(values)).ok());
  EXPECT_EQ(values, before);
}

// Features of the image queue, taken by CopyRows on the main one.
std::vector<float> TakeFeatures(Backend* backend) {
  const OwnedTensor pixels = backend->NewTensor(4, 8).value();
  const OwnedTensor features = backend->NewTensor(4, 8).value();
  const OwnedTensor x = backend->NewTensor(6, 8).value();
  std::vector<float> values(4 * 8, 2.0f);
  backend->SelectQueue(Backend::Queue::kImage);
  EXPECT_TRUE(backend->Upload(values, pixels.view).ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(backend->Add(pixels.view, features.view).ok());
  backend->SelectQueue(Backend::Queue::kMain);
  const std::vector<int32_t> from = {0, 1, 2, 3}, to = {1, 2, 3, 4};
  EXPECT_TRUE(backend->CopyRows(features.view, from, to, x.view).ok());
  std::vector<float> result(6 * 8);
  EXPECT_TRUE(backend->Download(x.view, absl::MakeSpan(result)).ok());
  return result;
}

TEST_F(CudaBackendTest, TheMainQueueWaitsForImageFeatures) {
  std::vector<float> expected(6 * 8, 6.0f);
  std::fill_n(expected.begin(), 8, 0.0f);
  std::fill_n(expected.end() - 8, 8, 0.0f);
  for (const uint64_t seed : {0, 1, 2}) {
    Restart(seed);
    {
      const auto backend = CreateTinyBackend(DType::kF32, false, false).value();
      EXPECT_EQ(TakeFeatures(backend.get()), expected);
    }
    EXPECT_EQ(emu::LiveBuffers(), std::vector<std::string>());
  }
  Restart(0);
  cuda::planted_cuda_bug = CudaBug::kNoImageWait;
  {
    const auto backend = CreateTinyBackend(DType::kF32, false, false).value();
    EXPECT_NE(TakeFeatures(backend.get()), expected) << "the planted bug was not noticed";
  }
  emu::TakeReports();
}

int32_t LargestOf(const std::vector<float>& logits, int32_t row) {
  const auto begin = logits.begin() + row * kTinyVocabulary;
  return static_cast<int32_t>(std::max_element(begin, begin + kTinyVocabulary) - begin);
}

TEST_F(CudaBackendTest, DrawsAreInFlightAndFeedTheNextStep) {
  const auto backend = CreateTinyBackend(DType::kF32, true, true).value();
  const auto host = CreateTinyBackend(DType::kF32, true, false).value();
  auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
  auto reference = TinyDecoder::Create(host.get(), kPages).value();
  TinyWorld world(7, kPages);
  for (const int32_t length : {20, 3, 40}) {
    const TinyPass pass = world.Start(length, false);
    ASSERT_TRUE(decoder->Run(pass).ok());
    ASSERT_TRUE(reference->Run(pass).ok());
  }
  std::vector<TokenDraw> draws;
  for (int32_t row = 0; row < 3; ++row) {
    draws.push_back({.logits_row = row, .num_logprobs = row == 1 ? 2 : -1});
  }
  emu::ResetCounters();
  std::vector<int32_t> fed(3, 5);  // What the reference is given.
  std::vector<uint64_t> tickets;
  std::vector<std::vector<int32_t>> expected;
  std::vector<DrawnToken> drawn;
  uint64_t copies_to_host = 0;
  constexpr int kSteps = 8;
  for (int step = 0; step < kSteps; ++step) {
    TinyPass pass = world.Decode(*backend);
    TinyPass known = pass;
    for (int32_t row = 0; row < 3; ++row) {
      known.token_ids[row] = fed[row];
      pass.token_ids[row] = step == 0 ? fed[row] : FromDraw(row);
    }
    ASSERT_TRUE(reference->Run(known).ok());
    const std::vector<float> logits = reference->Logits(known).value();
    copies_to_host += 1;  // That one.
    ASSERT_TRUE(decoder->Run(pass).ok());
    tickets.push_back(backend->DrawTokens(decoder->logits(), draws).value());
    expected.push_back({LargestOf(logits, 0), LargestOf(logits, 1), LargestOf(logits, 2)});
    fed = expected.back();
    if (step == 0) continue;  // From here on two are out.
    ASSERT_TRUE(backend->TakeDraws(tickets[step - 1], &drawn).ok());
    ASSERT_EQ(drawn.size(), 3u);
    for (int32_t row = 0; row < 3; ++row) {
      EXPECT_EQ(drawn[row].token, expected[step - 1][row]) << "step " << step - 1;
    }
    EXPECT_EQ(drawn[1].top.size(), 2u);
    EXPECT_EQ(drawn[1].top[0].id, drawn[1].token);
    EXPECT_EQ(drawn[1].sampled.rank, 1);
    EXPECT_TRUE(drawn[0].top.empty());
  }
  ASSERT_TRUE(backend->TakeDraws(tickets.back(), &drawn).ok());
  EXPECT_GT(decoder->num_played(), 3);
  EXPECT_EQ(emu::GetCounters().copies_to_host, copies_to_host + kSteps)
      << "a step reads back nothing but its draws";
}

TEST_F(CudaBackendTest, GathersLogprobs) {
  const auto backend = CreateTinyBackend(DType::kF32, false, false).value();
  const OwnedTensor logits = backend->NewTensor(2, 3).value();
  ASSERT_TRUE(backend->Upload(std::vector<float>{0, 0, 0, 1, 2, 3}, logits.view).ok());
  std::vector<float> y(3);
  ASSERT_TRUE(backend->GatherLogprobs(logits.view, {0, 1, 1}, {2, 0, 2}, absl::MakeSpan(y)).ok());
  const double sum = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  EXPECT_NEAR(y[0], -std::log(3.0), 1e-6);
  EXPECT_NEAR(y[1], 1 - sum, 1e-6);
  EXPECT_NEAR(y[2], 3 - sum, 1e-6);
}

TEST_F(CudaBackendTest, RefusesKvOfOtherTypesByName) {
  const auto backend = CreateTinyBackend(DType::kBF16, false, false).value();
  const auto pool = backend->CreateKvPool(
      {.num_pages = 1, .num_kv_heads = 1, .head_dim = 8, .dtype = DType::kF32});
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(pool.status().message().find("bf16"), std::string::npos);
  EXPECT_NE(pool.status().message().find("f32"), std::string::npos);
}

void ExpectSameTraces(const Trace& actual, const Trace& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t pass = 0; pass < expected.size(); ++pass) {
    ASSERT_EQ(actual[pass], expected[pass]) << "pass " << pass;
  }
}

// T-13: the n-th allocation fails, for every n.
TEST_F(CudaBackendTest, LackOfMemoryFailsTheStepAndNothingElse) {
  const auto run = [](int fault, absl::Status* status, bool* reached) {
    Trace trace;
    const auto backend = CreateTinyBackend(DType::kF32, true, true).value();
    auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
    TinyWorld world(9, kPages);
    for (int step = 0; step < 8; ++step) {
      // Step 5 is longer, so that all that grows does.
      const TinyPass pass = step < 3    ? world.Start(30 + 5 * step, false)
                            : step == 5 ? world.Start(150, true)
                                        : world.Decode(*backend);
      if (step == 3 || step == 5) emu::SetFaults({.allocation = fault});
      absl::Status done = decoder->Run(pass);
      if (done.ok()) {
        const std::vector<TokenDraw> draws(3);
        const auto ticket = backend->DrawTokens(decoder->logits(), draws);
        done = ticket.status();
        std::vector<DrawnToken> drawn;
        if (ticket.ok()) {
          EXPECT_TRUE(backend->TakeDraws(*ticket, &drawn).ok());
        }
      }
      if (!done.ok()) {
        *status = done;
        *reached = true;
        emu::SetFaults({});
        EXPECT_TRUE(decoder->Run(pass).ok()) << "the backend stays usable";
      }
      trace.push_back(decoder->Logits(pass).value());
    }
    emu::SetFaults({});
    return trace;
  };
  absl::Status status;
  bool reached = false;
  const Trace right = run(0, &status, &reached);
  ASSERT_FALSE(reached);
  int faults = 0;
  for (int n = 1; n < 60; ++n) {
    SCOPED_TRACE(::testing::Message() << "allocation " << n);
    reached = false;
    ExpectSameTraces(run(n, &status, &reached), right);
    EXPECT_EQ(emu::LiveBuffers(), std::vector<std::string>());
    if (!reached) break;
    ++faults;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  EXPECT_GT(faults, 1);
}

TEST_F(CudaBackendTest, LackOfMemoryAtTheStartLeaksNothing) {
  bool made = false;
  for (int n = 1; n < 60 && !made; ++n) {
    emu::SetFaults({.allocation = n});
    auto backend = CreateTinyBackend(DType::kF32, true, true);
    absl::Status status = backend.status();
    if (backend.ok()) {
      const auto decoder = TinyDecoder::Create(backend->get(), kPages);
      status = decoder.status();
    }
    made = emu::RemainingFaults().allocation > 0;
    emu::SetFaults({});
    EXPECT_EQ(status.code(), made ? absl::StatusCode::kOk : absl::StatusCode::kResourceExhausted)
        << status;
    backend = absl::CancelledError();
    EXPECT_EQ(emu::LiveBuffers(), std::vector<std::string>()) << "allocation " << n;
  }
  EXPECT_TRUE(made);
}

TEST_F(CudaBackendTest, PlainHostMemoryServesWherePinnedLacks) {
  const Schedule schedule = {.seed = 11, .num_steps = 12};
  const Trace right = RunOnFresh(DType::kF32, true, schedule);
  for (int n = 1; n <= 8; ++n) {
    emu::SetFaults({.pinned_allocation = n});
    EXPECT_EQ(RunOnFresh(DType::kF32, true, schedule), right) << "pinned allocation " << n;
  }
}

// T-14: a device that is lost at any launch fails all calls from then on.
TEST_F(CudaBackendTest, ALostDeviceIsUnavailableForEver) {
  for (const int n : {1, 2, 7, 20, 33}) {
    SCOPED_TRACE(::testing::Message() << "launch " << n);
    Restart(n);
    auto backend = CreateTinyBackend(DType::kF32, true, true).value();
    auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
    TinyWorld world(9, kPages);
    ASSERT_TRUE(decoder->Run(world.Start(20, false)).ok());
    emu::SetFaults({.device_lost = n});
    absl::Status status;
    std::vector<DrawnToken> drawn;
    const std::vector<TokenDraw> draws(1);
    for (int step = 0; step < 10 && status.ok(); ++step) {
      drawn.clear();
      status = decoder->Run(world.Decode(*backend));
      if (!status.ok()) break;
      const auto ticket = backend->DrawTokens(decoder->logits(), draws);
      status = ticket.ok() ? backend->TakeDraws(*ticket, &drawn) : ticket.status();
      EXPECT_TRUE(status.ok() || drawn.empty());
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    for (int again = 0; again < 2; ++again) {
      EXPECT_TRUE(absl::IsUnavailable(decoder->Run(world.Decode(*backend))));
      EXPECT_TRUE(absl::IsUnavailable(backend->DrawTokens(decoder->logits(), draws).status()));
      EXPECT_TRUE(absl::IsUnavailable(backend->Synchronize()));
      EXPECT_TRUE(absl::IsUnavailable(backend->NewTensor(1, 1).status()));
      std::vector<float> row(kTinyVocabulary);
      EXPECT_TRUE(absl::IsUnavailable(
          backend->Download(decoder->logits().Rows(0, 1), absl::MakeSpan(row))));
      EXPECT_TRUE(absl::IsUnavailable(backend->Upload(row, decoder->logits().Rows(0, 1))));
    }
    decoder.reset();
    backend.reset();
    emu::TakeReports();
  }
}

// Token ids that equal the positions by chance while a pass is recorded.
TEST_F(CudaBackendTest, ARecordingTellsPositionsFromTokens) {
  std::vector<float> logits[2];
  for (const bool graphs : {false, true}) {
    Restart(0);
    const auto backend = CreateTinyBackend(DType::kF32, true, graphs).value();
    const auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
    TinyWorld world(5, kPages);
    ASSERT_TRUE(decoder->Run(world.Start(7, false)).ok());
    for (int step = 0; step < 4; ++step) {
      TinyPass pass = world.Decode(*backend);
      pass.token_ids = pass.positions;
      if (step >= 2) pass.token_ids[0] = 40 - step;
      ASSERT_TRUE(decoder->Run(pass).ok());
      const std::vector<float> row = decoder->Logits(pass).value();
      logits[graphs].insert(logits[graphs].end(), row.begin(), row.end());
    }
    EXPECT_EQ(decoder->num_played() > 0, graphs);
  }
  EXPECT_EQ(logits[0], logits[1]);
}

TEST_F(CudaBackendTest, WeightsInBlocksAreWidenedAsTheyAreWritten) {
  Restart(0);
  std::mt19937 random(3);
  for (const DType activation : {DType::kF32, DType::kBF16}) {
    const auto backend = CreateTinyBackend(activation, false, false).value();
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                              DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
      constexpr int64_t kRows = 3, kCols = 2560;  // A row goes to the device in parts.
      const int64_t row_bytes = RowBytes(dtype, kCols), block = BlockOf(dtype).bytes;
      std::vector<uint8_t> bytes(static_cast<size_t>(kRows * row_bytes));
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      // The f16 numbers of a block are finite and small.
      for (size_t i = 1; i < bytes.size(); ++i) {
        const auto at = static_cast<int64_t>(i) % block;
        if (at == 1 || at == 3 || at == block - 1) bytes[i] = 0x21;
      }
      const auto matrix = backend->CreateMatrix(dtype, kRows, kCols).value();
      const absl::Span<const uint8_t> all(bytes);
      ASSERT_TRUE(backend->WriteMatrixRows(0, all.first(row_bytes), matrix.get()).ok());
      ASSERT_TRUE(backend->WriteMatrixRows(1, all.subspan(row_bytes), matrix.get()).ok());
      const OwnedTensor y = backend->NewTensor(kRows, kCols).value();
      const std::vector<int32_t> ids = {0, 1, 2};
      ASSERT_TRUE(backend->Embed(*matrix, ids, y.view).ok());
      std::vector<float> values(kRows * kCols), expected(kRows * kCols);
      ASSERT_TRUE(backend->Download(y.view, absl::MakeSpan(values)).ok());
      for (int64_t r = 0; r < kRows; ++r) {
        DequantizeRow(dtype, bytes.data() + r * row_bytes, kCols, expected.data() + r * kCols);
      }
      if (activation == DType::kBF16) {
        for (float& value : expected) value = BF16ToFloat(FloatToBF16(value));
      }
      EXPECT_EQ(values, expected) << DTypeName(dtype);
    }
  }
}

TEST_F(CudaBackendTest, APoolOfMoreThanFourGigabytesIsAddressedAtItsEnd) {
  Restart(0, size_t{16} << 30);
  const auto backend = CreateTinyBackend(DType::kF32, false, false).value();
  constexpr int kHeads = 8, kDim = 128;
  constexpr int32_t kNumPages = 40000;  // 128 KiB each.
  const auto pool = backend
                        ->CreateKvPool({.num_pages = kNumPages,
                                        .num_kv_heads = kHeads,
                                        .head_dim = kDim,
                                        .dtype = DType::kF32})
                        .value();
  const OwnedTensor qkv = backend->NewTensor(1, 3 * kHeads * kDim).value();
  std::vector<float> values(3 * kHeads * kDim);
  std::iota(values.begin(), values.end(), 1.0f);
  ASSERT_TRUE(backend->Upload(values, qkv.view).ok());
  const std::vector<int32_t> pages = {kNumPages - 1}, slots = {15}, first = {0};
  KvSegment segment = {.num_rows = 1, .pages = pages, .write_slots = slots, .first_visible = 1};
  ASSERT_TRUE(
      backend->WriteKv(qkv.view, nullptr, kHeads, absl::MakeConstSpan(&segment, 1), pool.get())
          .ok());
  const SlotGather gather = {.source_pages = pages, .sources = slots, .destination_pages = first};
  ASSERT_TRUE(backend->GatherSlots(absl::MakeConstSpan(&gather, 1), pool.get()).ok());
  const OwnedTensor y = backend->NewTensor(1, kHeads * kDim).value();
  segment.pages = first;
  segment.write_slots = first;
  ASSERT_TRUE(backend
                  ->PagedAttention(qkv.view, *pool, kHeads, {.scale = 1e-6f},
                                   absl::MakeConstSpan(&segment, 1), y.view)
                  .ok());
  std::vector<float> seen(kHeads * kDim);
  ASSERT_TRUE(backend->Download(y.view, absl::MakeSpan(seen)).ok());
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), values.end() - kHeads * kDim));
}

}  // namespace
}  // namespace prefixd
