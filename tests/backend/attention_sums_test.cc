// Sums of attention (KvSegment::sums): near a computation in double here, and with bits that depend
// on the sequence alone.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using AttentionSumsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(AttentionSumsTest);

constexpr int32_t kMore = 5;  // Sums beyond what is seen, which must stay as they were.

HostMatrix RandomQkv(RandomValues* random, const AttentionShape& shape, int64_t num_tokens) {
  HostMatrix qkv = random->Matrix(num_tokens, shape.qkv_cols());
  return RoundedTo(shape.kv_dtype, qkv);
}

std::vector<int32_t> PagesInOrder(int64_t num_tokens) {
  std::vector<int32_t> pages(PagesFor(num_tokens));
  std::iota(pages.begin(), pages.end(), 0);
  return pages;
}

// For every token the mean over heads of the probabilities with which rows [first_row, tokens)
// attend to it. Unrotated.
HostMatrix SumsInDouble(const AttentionShape& shape, const HostMatrix& qkv, int32_t first_row) {
  std::vector<double> sums(qkv.rows);
  std::vector<double> p(qkv.rows);
  for (int32_t t = first_row; t < qkv.rows; ++t) {
    for (int h = 0; h < shape.num_heads; ++h) {
      const float* const q = qkv.row(t) + h * shape.head_dim;
      const int kv_head = h / (shape.num_heads / shape.num_kv_heads);
      double largest = -1e300, total = 0;
      for (int32_t s = 0; s <= t; ++s) {
        const float* const k = qkv.row(s) + (shape.num_heads + kv_head) * shape.head_dim;
        p[s] = 0;
        for (int d = 0; d < shape.head_dim; ++d) p[s] += double{q[d]} * k[d];
        p[s] *= shape.scale();
        largest = std::max(largest, p[s]);
      }
      for (int32_t s = 0; s <= t; ++s) total += p[s] = std::exp(p[s] - largest);
      for (int32_t s = 0; s <= t; ++s) sums[s] += p[s] / total / shape.num_heads;
    }
  }
  return RowVector({sums.begin(), sums.end()});
}

// The sums after the whole sequence was computed in these chunks, by rows first_row and later; `y`
// receives the rows if not null.
HostMatrix RunSums(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                   const std::vector<int32_t>& chunks, const std::vector<int32_t>& pages,
                   int32_t first_row = 0, HostMatrix* y = nullptr) {
  const auto pool =
      MakePoisonedPool(backend, shape, *std::max_element(pages.begin(), pages.end()) + 1);
  HostMatrix start(1, qkv.rows + kMore);
  std::fill(start.row(0) + qkv.rows, start.row(0) + start.cols, -0.0f);
  const GuardedTensor sums = GuardedTensor::Output(backend, start, TensorUse::kScores);
  if (y != nullptr) *y = HostMatrix(0, shape.output_cols());
  int32_t begin = 0;
  for (const int32_t count : chunks) {
    const HostMatrix rows = RunStep(backend, shape,
                                    {{.qkv = &qkv,
                                      .pages = pages,
                                      .begin = begin,
                                      .count = count,
                                      .sums = &sums.view(),
                                      .first_summed_row = std::max(0, first_row - begin)}},
                                    pool.get());
    if (y != nullptr) y->values.insert(y->values.end(), rows.values.begin(), rows.values.end());
    begin += count;
  }
  if (y != nullptr) y->rows = begin;
  sums.CheckGuards();
  const HostMatrix all = sums.Read();
  for (int64_t s = qkv.rows; s < all.cols; ++s) EXPECT_TRUE(std::signbit(all.row(0)[s])) << s;
  return RowVector({all.row(0), all.row(0) + qkv.rows});
}

double Total(const HostMatrix& sums) {
  return std::accumulate(sums.values.begin(), sums.values.end(), 0.0);
}

std::vector<int32_t> RandomCuts(std::mt19937* random, int32_t total) {
  std::vector<int32_t> chunks;
  while (total > 0) {
    const int32_t limit = (*random)() % 2 == 0 ? 20 : 300;
    chunks.push_back(1 + static_cast<int32_t>((*random)() % std::min(total, limit)));
    total -= chunks.back();
  }
  return chunks;
}

TEST_P(AttentionSumsTest, AgreeWithDoublesAndTheReference) {
  RandomValues random(40);
  for (const AttentionShape& base : GetParam().Cases(
           std::vector<AttentionShape>{{.num_heads = 1, .num_kv_heads = 1, .head_dim = 1},
                                       {.num_heads = 6, .num_kv_heads = 1, .head_dim = 5},
                                       {.num_heads = 4, .num_kv_heads = 4, .head_dim = 80},
                                       {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
                                       {.num_heads = 51, .num_kv_heads = 1, .head_dim = 9},
                                       {.num_heads = 2, .num_kv_heads = 1, .head_dim = 128}})) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int32_t num_tokens : GetParam().Sizes({15, 1, 16, 17, 255, 256, 640, 257})) {
        const bool is_long = num_tokens > 17 && num_tokens != 257;
        if (is_long && (base.head_dim > 64 || dtype == DType::kBF16))
          continue;  // Doubles take their time.
        if (GetParam().slow && num_tokens > 17 && base.head_dim > 64) continue;
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads, " << shape.num_kv_heads
                                          << " kv heads of " << shape.head_dim << ", "
                                          << DTypeName(dtype) << ", " << num_tokens << " tokens");
        const HostMatrix qkv = Stored(RandomQkv(&random, shape, num_tokens));
        const std::vector<int32_t> pages = random.Permutation(PagesFor(num_tokens) + 3);
        HostMatrix y;
        const HostMatrix sums = RunSums(backend_.get(), shape, qkv, {num_tokens}, pages, 0, &y);
        const HostMatrix expected = SumsInDouble(shape, qkv, 0);
        ExpectNear(sums, expected, 1e-5, expected);
        EXPECT_NEAR(Total(sums), num_tokens, 1e-4 * num_tokens);
        ExpectSameBits(y, RunSequence(backend_.get(), shape, qkv, num_tokens, pages));
        if (num_tokens <= 17 && backend_->info().name != "ref") {
          ExpectNear(sums, RunSums(reference_.get(), shape, qkv, {num_tokens}, pages), 1e-5,
                     expected);
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(AttentionSumsTest, ByHand) {
  // Row 1: q . k0 = 0 and q . k1 = ln 3 for head 0, so 1/4 and 3/4; 1/2 and 1/2 for head 1.
  const AttentionShape shape = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 2};
  const float ln3 = std::log(3.0f) * std::sqrt(2.0f);
  HostMatrix qkv(2, 8);
  qkv.values = {9, 9, 9, 9, 0,   5, 4, 0,  //
                1, 0, 0, 0, ln3, 7, 8, 4};
  const HostMatrix sums = RunSums(backend_.get(), shape, qkv, {2}, {1, 0});
  ExpectNear(sums, RowVector({1.375f, 0.625f}), 1e-6);
  ExpectNear(RunSums(backend_.get(), shape, qkv, {1, 1}, {1, 0}, 1), RowVector({0.375f, 0.625f}),
             1e-6);
}

TEST_P(AttentionSumsTest, RowsBeforeTheFirstSummedDoNotCount) {
  RandomValues random(41);
  const AttentionShape shape = {.num_heads = 6, .num_kv_heads = 2, .head_dim = 16};
  const int32_t kTokens = GetParam().Many(300, 100);
  const HostMatrix qkv = Stored(RandomQkv(&random, shape, kTokens));
  for (const int32_t first_row : GetParam().slow
                                     ? std::vector<int32_t>{1, 64, kTokens}
                                     : std::vector<int32_t>{1, 16, 100, 255, 256, 299, 300}) {
    SCOPED_TRACE(::testing::Message() << "first row " << first_row);
    const HostMatrix sums =
        RunSums(backend_.get(), shape, qkv, {kTokens}, PagesInOrder(kTokens), first_row);
    const HostMatrix expected = SumsInDouble(shape, qkv, first_row);
    ExpectNear(sums, expected, 1e-5, expected);
    EXPECT_NEAR(Total(sums), kTokens - first_row, 1e-4 * kTokens);
    if (!GetParam().exact) continue;
    const std::vector<int32_t> chunks = {kTokens / 5 * 2, kTokens / 4,
                                         kTokens - kTokens / 5 * 2 - kTokens / 4};
    ExpectSameBits(RunSums(backend_.get(), shape, qkv, chunks, PagesInOrder(kTokens), first_row),
                   sums);
  }
}

TEST_P(AttentionSumsTest, CutsPagesAndThreadsDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(42);
  std::mt19937 cuts(43);
  for (const AttentionShape& shape : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 9, .num_kv_heads = 3, .head_dim = 24, .rotate = true},
           {.num_heads = 4, .num_kv_heads = 4, .head_dim = 17, .kv_dtype = DType::kBF16},
           {.num_heads = 8,
           .num_kv_heads = 1,
           .head_dim = 64,
           .kv_dtype = DType::kBF16,
           .rotate = true},
           {.num_heads = 1, .num_kv_heads = 1, .head_dim = 9}})) {
    const int32_t kTokens = GetParam().Many(530, 270);
    const HostMatrix qkv = RandomQkv(&random, shape, kTokens);
    const HostMatrix whole = RunSums(backend_.get(), shape, qkv, {kTokens}, PagesInOrder(kTokens));
    const bool is_reference = backend_->info().name == "ref";
    for (const int threads : GetParam().Threads({1, 2, 3, 20})) {
      if (is_reference && threads > 1) break;
      const auto backend = GetParam().Create(threads);
      const int rounds = is_reference || threads == 20 ? 1 : 5;
      for (int round = GetParam().Many(0, 4); round < rounds; ++round) {
        const std::vector<int32_t> chunks = round == 0   ? std::vector<int32_t>{kTokens}
                                            : round == 1 ? std::vector<int32_t>(kTokens, 1)
                                                         : RandomCuts(&cuts, kTokens);
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads of " << shape.head_dim
                                          << ", " << DTypeName(shape.kv_dtype) << ", "
                                          << chunks.size() << " chunks, " << threads << " threads");
        const std::vector<int32_t> pages = random.Permutation(PagesFor(kTokens) + 3);
        ExpectSameBits(RunSums(backend.get(), shape, qkv, chunks, pages), whole);
        if (HasFailure()) return;
      }
    }
  }
}

// Sequences of several lengths on a common prefix of two pages and without, decode rows and
// prefills, with sums and without, in one call.
TEST_P(AttentionSumsTest, BatchMatesAndSharedPagesDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(44);
  constexpr int32_t kShared = 2 * kPageSlots;
  struct Piece {
    int32_t begin, count;
    bool shares, sums;
    int32_t first_summed_row = 0;
  };
  const std::vector<Piece> spans = {{300, 1, true, true},      {0, 17, false, true, 3},
                                    {250, 33, true, true, 20}, {0, 1, false, true},
                                    {32, 68, true, false},     {40, 100, true, true},
                                    {15, 1, false, false},     {32, 1, true, true},
                                    {33, 9, true, true, 9},    {260, 1, false, true}};
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 6, .num_kv_heads = 2, .head_dim = 20, .kv_dtype = dtype, .rotate = true};
    const HostMatrix prefix = RandomQkv(&random, shape, kShared);
    std::vector<HostMatrix> qkv;
    int32_t total = 2;
    for (const Piece& span : spans) {
      qkv.push_back(RandomQkv(&random, shape, span.begin + span.count));
      if (span.shares) std::copy(prefix.values.begin(), prefix.values.end(), qkv.back().row(0));
      total += PagesFor(qkv.back().rows) - (span.shares ? 2 : 0);
    }
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << ", " << threads << " threads");
      const auto backend = GetParam().Create(threads);
      const auto pool = MakePoisonedPool(backend.get(), shape, total);
      const std::vector<int32_t> ids = random.Permutation(total);
      auto next_page = ids.begin() + 2;
      std::vector<SequencePiece> pieces;
      std::vector<GuardedTensor> sums;
      RunStep(backend.get(), shape, {{&prefix, {ids[0], ids[1]}, 0, kShared}}, pool.get());
      for (size_t s = 0; s < spans.size(); ++s) {
        std::vector<int32_t> pages;
        if (spans[s].shares) pages = {ids[0], ids[1]};
        while (static_cast<int32_t>(pages.size()) < PagesFor(qkv[s].rows)) {
          pages.push_back(*next_page++);
        }
        const int32_t begin = spans[s].shares ? kShared : 0;
        if (spans[s].begin > begin) {
          RunStep(backend.get(), shape, {{&qkv[s], pages, begin, spans[s].begin - begin}},
                  pool.get());
        }
        sums.push_back(
            GuardedTensor::Output(backend.get(), HostMatrix(1, qkv[s].rows), TensorUse::kScores));
        pieces.push_back({.qkv = &qkv[s],
                          .pages = pages,
                          .begin = spans[s].begin,
                          .count = spans[s].count,
                          .first_summed_row = spans[s].first_summed_row});
      }
      for (size_t s = 0; s < spans.size(); ++s) {
        if (spans[s].sums) pieces[s].sums = &sums[s].view();
      }
      const HostMatrix batch = RunStep(backend.get(), shape, pieces, pool.get());
      int64_t row = 0;
      for (size_t s = 0; s < spans.size(); ++s) {
        const int32_t tokens = static_cast<int32_t>(qkv[s].rows);
        HostMatrix y;
        const HostMatrix alone =
            RunSums(backend_.get(), shape, qkv[s], {spans[s].begin, spans[s].count},
                    PagesInOrder(tokens), spans[s].begin + spans[s].first_summed_row, &y);
        ExpectSameBits(batch.Rows(row, spans[s].count), y.Rows(spans[s].begin, spans[s].count));
        sums[s].CheckGuards();
        ExpectSameBits(sums[s].Read(), spans[s].sums ? alone : HostMatrix(1, tokens));
        if (HasFailure()) FAIL() << "sequence " << s;
        row += spans[s].count;
      }
    }
  }
}

TEST_P(AttentionSumsTest, AddUpToOneARowWhenScoresAreHuge) {
  const AttentionShape shape = {.num_heads = 3, .num_kv_heads = 1, .head_dim = 3};
  const int32_t kTokens = GetParam().Many(300, 100);
  HostMatrix qkv = RandomValues(45).Matrix(kTokens, shape.qkv_cols());
  for (float& value : qkv.values) value *= 1e4f;
  const HostMatrix sums = RunSums(backend_.get(), shape, qkv, {kTokens}, PagesInOrder(kTokens));
  EXPECT_NEAR(Total(sums), kTokens, 1e-4 * kTokens);
  for (const float sum : sums.values) ASSERT_GE(sum, 0.0f);
}

}  // namespace
}  // namespace prefixd
