// DrawTokens, TakeDraws, tokens fed without the host, and GatherLogprobs.
#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/backend/host_draw.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using DrawTokensTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(DrawTokensTest);

constexpr int64_t kVocab = 97;

HostMatrix Spread(RandomValues* random, int64_t rows) {
  HostMatrix logits = random->Matrix(rows, kVocab);
  for (float& logit : logits.values) logit *= 6;
  return logits;
}

std::vector<DrawnToken> Draw(Backend* backend, const Tensor& logits,
                             const std::vector<TokenDraw>& draws) {
  std::vector<DrawnToken> drawn;
  const absl::StatusOr<uint64_t> ticket = backend->DrawTokens(logits, draws);
  EXPECT_TRUE(ticket.ok()) << ticket.status();
  if (ticket.ok()) {
    EXPECT_TRUE(backend->TakeDraws(*ticket, &drawn).ok());
  }
  return drawn;
}

TEST_P(DrawTokensTest, DrawsWhatTheHostDrawsFromTheSameRow) {
  RandomValues random(40);
  const HostMatrix logits = Stored(Spread(&random, 6));
  const GuardedTensor device = GuardedTensor::Input(backend_.get(), logits);
  const std::vector<std::pair<int32_t, float>> bias = {{3, 5.0f}, {90, -2.0f}};
  const std::vector<CountedToken> counts = {{.id = 7, .generated = 2}, {.id = 8}};
  const std::vector<int32_t> suppressed = {0, 3, 96};
  std::vector<TokenDraw> draws;
  for (uint32_t step = 0; step < 5; ++step) {
    for (int32_t row = 0; row < 6; ++row) {
      TokenDraw draw{.logits_row = row, .num_logprobs = static_cast<int>(step) - 1};
      draw.params = {.temperature = row == 0 ? 0.0f : 0.3f * static_cast<float>(row),
                     .top_k = row == 2 ? 7 : 0,
                     .top_p = row == 3 ? 0.7f : 1.0f,
                     .min_p = row == 4 ? 0.05f : 0.0f,
                     .seed = 99,
                     .step = step,
                     .choice = static_cast<uint32_t>(row)};
      if (row >= 4) {
        draw.params.repetition_penalty = 1.3f;
        draw.params.frequency_penalty = 0.5f;
        draw.counts = counts;
        draw.logit_bias = bias;
        draw.suppressed = suppressed;
      }
      if (row == 5 && step == 4) draw.forced = 11;
      draws.push_back(draw);
    }
  }
  const std::vector<DrawnToken> drawn = Draw(backend_.get(), device.view(), draws);
  ASSERT_EQ(drawn.size(), draws.size());
  DrawScratch scratch;
  for (size_t i = 0; i < draws.size(); ++i) {
    SCOPED_TRACE(i);
    const absl::Span<const float> row(logits.row(draws[i].logits_row), kVocab);
    const int32_t token =
        draws[i].forced >= 0 ? draws[i].forced : DrawToken(row, draws[i], &scratch);
    ASSERT_EQ(drawn[i].token, token);
    if (draws[i].num_logprobs < 0) continue;
    DrawnToken expected;
    RankTokens(row, token, draws[i].num_logprobs, &expected);
    EXPECT_EQ(drawn[i].sampled.id, token);
    EXPECT_EQ(drawn[i].sampled.rank, expected.sampled.rank);
    EXPECT_NEAR(drawn[i].sampled.logprob, expected.sampled.logprob, 1e-5);
    ASSERT_EQ(drawn[i].top.size(), expected.top.size());
    for (size_t t = 0; t < expected.top.size(); ++t) {
      EXPECT_EQ(drawn[i].top[t].id, expected.top[t].id);
      EXPECT_EQ(drawn[i].top[t].rank, static_cast<int32_t>(t) + 1);
      EXPECT_NEAR(drawn[i].top[t].logprob, expected.top[t].logprob, 1e-5);
    }
  }
}

TEST_P(DrawTokensTest, ARowWithoutATokenFailsAlone) {
  RandomValues random(41);
  HostMatrix logits = Spread(&random, 3);
  logits.row(1)[50] = NAN;
  const GuardedTensor device = GuardedTensor::Input(backend_.get(), logits);
  const std::vector<DrawnToken> drawn = Draw(
      backend_.get(), device.view(), {{.logits_row = 0}, {.logits_row = 1}, {.logits_row = 2}});
  ASSERT_EQ(drawn.size(), 3u);
  EXPECT_GE(drawn[0].token, 0);
  EXPECT_EQ(drawn[1].token, -1);
  EXPECT_GE(drawn[2].token, 0);
}

TEST_P(DrawTokensTest, ATokenIsFedBeforeTheHostKnowsIt) {
  RandomValues random(42);
  const HostMatrix table = Stored(random.Matrix(kVocab, 24));
  const auto weight = MakeWeight(backend_.get(), DType::kF32, table);
  HostMatrix logits(2, kVocab, 0.0f);
  logits.row(0)[31] = 9.0f;
  logits.row(1)[77] = 9.0f;
  const GuardedTensor device = GuardedTensor::Input(backend_.get(), logits);
  const std::vector<TokenDraw> draws = {{.logits_row = 1}, {.logits_row = 0}};
  const absl::StatusOr<uint64_t> ticket = backend_->DrawTokens(device.view(), draws);
  ASSERT_TRUE(ticket.ok());
  const std::vector<int32_t> ids = {FromDraw(0), 5, FromDraw(1), FromDraw(0)};
  const HostMatrix fed = RunOp(backend_.get(), 4, 24,
                               [&](const Tensor& y) { return backend_->Embed(*weight, ids, y); });
  std::vector<DrawnToken> drawn;
  ASSERT_TRUE(backend_->TakeDraws(*ticket, &drawn).ok());
  EXPECT_EQ(drawn[0].token, 77);
  EXPECT_EQ(drawn[1].token, 31);
  const int32_t rows[] = {77, 5, 31, 77};
  for (int i = 0; i < 4; ++i) ExpectSameBits(fed.Rows(i, 1), table.Rows(rows[i], 1));
}

TEST_P(DrawTokensTest, LogprobsOfManyColumnsAreThoseOfTheSoftmax) {
  RandomValues random(43);
  const HostMatrix logits = Stored(Spread(&random, 4));
  const GuardedTensor device = GuardedTensor::Input(backend_.get(), logits);
  std::vector<int32_t> rows, columns;
  for (int32_t i = 0; i < 150; ++i) {
    rows.push_back(i / 50 == 1 ? 3 : i / 50);
    columns.push_back(i * 31 % static_cast<int32_t>(kVocab));
  }
  std::vector<float> y(rows.size());
  ASSERT_TRUE(backend_->GatherLogprobs(device.view(), rows, columns, absl::MakeSpan(y)).ok());
  for (size_t i = 0; i < rows.size(); ++i) {
    double sum = 0;
    for (int64_t c = 0; c < kVocab; ++c) sum += std::exp(double{logits.row(rows[i])[c]});
    EXPECT_NEAR(y[i], logits.row(rows[i])[columns[i]] - std::log(sum), 1e-5);
  }
}

}  // namespace
}  // namespace prefixd
