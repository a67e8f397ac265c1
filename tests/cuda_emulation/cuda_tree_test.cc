// Passes with trees of rows, and the head's log-probabilities, on the whole CUDA backend.
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/tiny_decoder.h"

namespace prefixd {
namespace {

class CudaTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::ResetDevice();
    emu::SetDeviceOptions({.mode = emu::StreamMode::kLate});
  }
  void TearDown() override { emu::ResetDevice(); }
};

constexpr int32_t kPages = 40;

// Rows of one segment of a pass, in the same slots of every layer.
struct SegmentRows {
  std::vector<int32_t> tokens, slots;
  int32_t first_visible = 1, first_position = 0;
  std::vector<std::vector<int32_t>> paths;  // Of a tree, by row.
};

// A pass of segments, all in the same pages.
struct Pass {
  explicit Pass(std::vector<SegmentRows> segments) : rows(std::move(segments)) {
    tiny.layers.resize(kTinyLayers);
    for (int layer = 0; layer < kTinyLayers; ++layer) {
      for (int32_t page = 0; page < 19; ++page) {
        pages[layer].push_back(20 * layer + 7 * page % 19);  // In some order.
      }
    }
    for (SegmentRows& r : rows) {
      std::vector<int32_t>& begins = path_begins.emplace_back();
      std::vector<int32_t>& slots = path_slots.emplace_back();
      for (const std::vector<int32_t>& path : r.paths) {
        begins.push_back(static_cast<int32_t>(slots.size()));
        slots.insert(slots.end(), path.begin(), path.end());
      }
      if (!r.paths.empty()) begins.push_back(static_cast<int32_t>(slots.size()));
    }
    for (size_t s = 0; s < rows.size(); ++s) {
      const SegmentRows& r = rows[s];
      KvSegment segment = {.row_begin = tiny.num_rows,
                           .num_rows = static_cast<int32_t>(r.tokens.size()),
                           .write_slots = r.slots,
                           .first_visible = r.first_visible,
                           .first_position = r.first_position,
                           .path_begins = path_begins[s],
                           .path_slots = path_slots[s]};
      for (int layer = 0; layer < kTinyLayers; ++layer) {
        segment.pages = pages[layer];
        tiny.layers[layer].push_back(segment);
      }
      for (int32_t i = 0; i < segment.num_rows; ++i) {
        tiny.token_ids.push_back(r.tokens[i]);
        tiny.positions.push_back(segment.position(i));
      }
      tiny.num_rows += segment.num_rows;
    }
  }

  std::vector<SegmentRows> rows;
  std::vector<std::vector<int32_t>> path_begins, path_slots;
  std::vector<int32_t> pages[kTinyLayers];
  TinyPass tiny;
};

// Tokens in a plain sequence from slot `begin` on.
SegmentRows Sequence(std::vector<int32_t> tokens, int32_t begin) {
  std::vector<int32_t> slots(tokens.size());
  std::iota(slots.begin(), slots.end(), begin);
  return {std::move(tokens), slots, begin + 1, begin, {}};
}

std::vector<int32_t> Prompt(int32_t length) {
  std::vector<int32_t> tokens(length);
  for (int32_t i = 0; i < length; ++i) tokens[i] = (7 * i + 3) % kTinyVocabulary;
  return tokens;
}

// The logits of the pass's rows.
std::vector<std::vector<float>> RunPass(TinyDecoder* decoder,
                                        const std::vector<SegmentRows>& segments, bool announce) {
  const Pass pass(segments);
  EXPECT_EQ(decoder->Run(pass.tiny, announce), absl::OkStatus());
  const std::vector<float> all = decoder->Logits(pass.tiny).value();
  std::vector<std::vector<float>> rows;
  for (int32_t row = 0; row < pass.tiny.num_rows; ++row) {
    const auto begin = all.begin() + int64_t{row} * kTinyVocabulary;
    rows.emplace_back(begin, begin + kTinyVocabulary);
  }
  return rows;
}

// Nodes of a tree in slots far behind the context, over three passes, the last one beside rows of
// another kind. Tables of pages must reach as far as the nodes' slots.
TEST_F(CudaTreeTest, NodesHaveTheBitsOfSequences) {
  constexpr int32_t kContext = 37;
  const auto node = [](std::vector<int32_t> tokens, std::vector<std::vector<int32_t>> paths) {
    std::vector<int32_t> slots;
    for (const std::vector<int32_t>& path : paths) slots.push_back(path.back());
    return SegmentRows{std::move(tokens), slots, kContext, kContext, std::move(paths)};
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool announce : {true, false}) {
      const auto backend = CreateTinyBackend(dtype, /*deterministic=*/true, true).value();
      const auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
      RunPass(decoder.get(), {Sequence(Prompt(kContext), 0)}, announce);
      const auto roots = RunPass(decoder.get(), {node({5, 6}, {{120}, {40}})}, announce);
      const auto children =
          RunPass(decoder.get(), {node({7, 8}, {{120, 39}, {120, 100}})}, announce);
      const auto mixed = RunPass(decoder.get(),
                                 {Sequence(Prompt(kContext), 0), node({9}, {{120, 39, 90}}),
                                  node({10}, {{40, 38}}), Sequence({11}, kContext)},
                                 announce);
      const auto expect = [&](const std::vector<float>& actual, std::vector<int32_t> path) {
        std::vector<int32_t> tokens = Prompt(kContext);
        tokens.insert(tokens.end(), path.begin(), path.end());
        EXPECT_EQ(RunPass(decoder.get(), {Sequence(tokens, 0)}, announce).back(), actual);
      };
      expect(roots[0], {5});
      expect(roots[1], {6});
      expect(children[0], {5, 7});
      expect(children[1], {5, 8});
      expect(mixed[kContext - 1], {});
      expect(mixed[kContext], {5, 7, 9});
      expect(mixed[kContext + 1], {6, 10});
      expect(mixed[kContext + 2], {11});
    }
  }
}

// More rows than a run takes, and states for which memory lacks: in pieces.
TEST_F(CudaTreeTest, ManyNodesGoInSeveralRuns) {
  constexpr int32_t kContext = 33;
  const auto backend = cuda::CreateCudaBackend({.device_name = "emulated",
                                                .activation_dtype = DType::kF32,
                                                .deterministic = true,
                                                .split_bytes = 40000})
                           .value();
  const auto decoder = TinyDecoder::Create(backend.get(), kPages).value();
  RunPass(decoder.get(), {Sequence(Prompt(kContext), 0)}, true);
  SegmentRows nodes = {.first_visible = kContext, .first_position = kContext};
  for (int32_t i = 0; i < 270; ++i) {
    nodes.tokens.push_back(i % kTinyVocabulary);
    nodes.slots.push_back(kContext + 1 + i);
    nodes.paths.push_back({kContext + 1 + i});
  }
  const auto all = RunPass(decoder.get(), {nodes}, true);
  for (int32_t i = 0; i < 270; ++i) {
    EXPECT_EQ(all[i], all[i % kTinyVocabulary]) << "row " << i;
  }
  std::vector<int32_t> tokens = Prompt(kContext);
  tokens.push_back(1);
  EXPECT_EQ(RunPass(decoder.get(), {Sequence(tokens, 0)}, true).back(), all[1]);
}

TEST_F(CudaTreeTest, HeadLogprobsAreThoseOfItsLogits) {
  constexpr int64_t kVocabulary = Backend::kHeadTile + 777, kCols = 24, kRows = 9;
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    const auto backend = CreateTinyBackend(dtype, /*deterministic=*/true, false).value();
    std::vector<float> x(kRows * kCols), weight(kVocabulary * kCols);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 64) / 32 - 1;
    for (size_t i = 0; i < weight.size(); ++i) {
      weight[i] = static_cast<float>(i * i * 29 % 256) / 128 - 1;  // Exact in either type.
    }
    const auto matrix = backend->CreateMatrix(DType::kF32, kVocabulary, kCols).value();
    ASSERT_TRUE(
        backend
            ->WriteMatrixRows(
                0, {reinterpret_cast<const uint8_t*>(weight.data()), weight.size() * sizeof(float)},
                matrix.get())
            .ok());
    const OwnedTensor states = backend->NewTensor(kRows, kCols).value();
    ASSERT_TRUE(backend->Upload(x, states.view).ok());
    const auto expected = [&](int64_t row, int64_t column) {
      double sum = 0, wanted = 0;
      for (int64_t n = 0; n < kVocabulary; ++n) {
        double logit = 0;
        for (int64_t k = 0; k < kCols; ++k) {
          logit += double{x[row * kCols + k]} * weight[n * kCols + k];
        }
        sum += std::exp(logit);
        if (n == column) wanted = logit;
      }
      return wanted - std::log(sum);
    };
    const std::vector<int32_t> columns = {0, 4095, 4096, 4872, 5, 4100, 7, 3000};
    // Rows side by side, and apart.
    for (const std::vector<int32_t>& rows : std::vector<std::vector<int32_t>>{
             {2, 2, 2, 3, 3, 4, 4, 4}, {0, 0, 0, 5, 5, 8, 8, 8}, {6, 6, 6, 6, 6, 6, 6, 6}}) {
      std::vector<float> y(rows.size());
      ASSERT_TRUE(
          backend->HeadLogprobs(states.view, *matrix, rows, columns, absl::MakeSpan(y)).ok());
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_NEAR(y[i], expected(rows[i], columns[i]), 1e-5) << "pair " << i;
        float alone = 0;
        ASSERT_TRUE(backend
                        ->HeadLogprobs(states.view, *matrix, {rows[i]}, {columns[i]},
                                       absl::MakeSpan(&alone, 1))
                        .ok());
        EXPECT_EQ(alone, y[i]) << "pair " << i;
      }
    }
    EXPECT_TRUE(backend->HeadLogprobs(states.view, *matrix, {}, {}, {}).ok());
  }
}

}  // namespace
}  // namespace prefixd
