// PagedAttention with KvSegment::visible_prefix: the rows of a prefix see each other, later ones as
// in a causal model.
#include <algorithm>
#include <numeric>

#include "tests/backend/attention_in_double.h"
#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using PrefixAttentionTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(PrefixAttentionTest);

// The sequence alone in scrambled pages of a poisoned pool, in steps; the first has the prefix.
Attended RunPrefixed(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                     int32_t prefix, const std::vector<int32_t>& counts, RandomValues* random,
                     int32_t first_summed_row = 0) {
  const std::vector<int32_t> pages = random->Permutation(PagesFor(qkv.rows) + 3);
  const auto pool = MakePoisonedPool(backend, shape, static_cast<int32_t>(pages.size()));
  const GuardedTensor sums =
      GuardedTensor::Output(backend, HostMatrix(1, qkv.rows), TensorUse::kScores);
  Attended run;
  run.y = RunSteps(backend, shape,
                   {.qkv = &qkv,
                    .pages = pages,
                    .sums = &sums.view(),
                    .first_summed_row = first_summed_row,
                    .visible_prefix = prefix},
                   counts, pool.get());
  sums.CheckGuards();
  run.sums = sums.Read();
  return run;
}

struct Case {
  AttentionShape shape;
  int32_t prefix = 0;
  int32_t tokens = 0;
};

TEST_P(PrefixAttentionTest, AgreesWithDoubles) {
  RandomValues random(60);
  for (const Case& base : GetParam().Cases(
           std::vector<Case>{{{.num_heads = 8, .num_kv_heads = 1, .head_dim = 256}, 19, 23},
                             {{.num_heads = 1, .num_kv_heads = 1, .head_dim = 1}, 1, 1},
                             {{.num_heads = 6, .num_kv_heads = 1, .head_dim = 5}, 16, 40},
                             {{.num_heads = 4, .num_kv_heads = 2, .head_dim = 64}, 100, 100},
                             {{.num_heads = 4, .num_kv_heads = 4, .head_dim = 72}, 33, 64},
                             {{.num_heads = 3, .num_kv_heads = 1, .head_dim = 18}, 257, 260},
                             {{.num_heads = 2, .num_kv_heads = 2, .head_dim = 80}, 255, 300},
                             {{.num_heads = 2, .num_kv_heads = 1, .head_dim = 9}, 600, 603},
                             {{.num_heads = 51, .num_kv_heads = 1, .head_dim = 7}, 64, 81},
                             {{.num_heads = 4, .num_kv_heads = 1, .head_dim = 16}, 130, 140},
                             {{.num_heads = 2, .num_kv_heads = 2, .head_dim = 80}, 40, 45}})) {
    for (const DType dtype : GetParam().kv_dtypes) {
      Case c = base;
      c.shape.kv_dtype = dtype;
      SCOPED_TRACE(::testing::Message()
                   << c.shape.num_heads << " heads, " << c.shape.num_kv_heads << " kv heads of "
                   << c.shape.head_dim << ", " << DTypeName(dtype) << ", prefix " << c.prefix
                   << " of " << c.tokens);
      const HostMatrix qkv = Stored(RandomQkv(&random, c.shape, c.tokens));
      const int32_t first_summed_row = c.tokens / 3;
      HostMatrix sums;
      const HostMatrix y = SequenceInDouble(c.shape, qkv, c.prefix, first_summed_row, &sums);
      // The rows behind the prefix in its segment, and each by itself.
      std::vector<int32_t> apart(1 + c.tokens - c.prefix, 1);
      apart[0] = c.prefix;
      for (const std::vector<int32_t>& counts : {std::vector<int32_t>{c.tokens}, apart}) {
        if (GetParam().slow && c.tokens > 100 && counts.size() == 1) continue;
        const Attended run =
            RunPrefixed(backend_.get(), c.shape, qkv, c.prefix, counts, &random, first_summed_row);
        ExpectNear(run.y, y, 3e-6);
        ExpectNear(run.sums, sums, 1e-5, sums);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(PrefixAttentionTest, CutsPagesAndThreadsDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(61);
  const bool is_reference = backend_->info().name == "ref";
  for (const AttentionShape& shape : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 8, .num_kv_heads = 1, .head_dim = 32, .rotate = true},
           {.num_heads = 4, .num_kv_heads = 4, .head_dim = 17, .kv_dtype = DType::kBF16},
           {.num_heads = 6, .num_kv_heads = 2, .head_dim = 24}})) {
    const int32_t kPrefix = GetParam().Many(401, 37);
    const int32_t kTokens = GetParam().Many(530, 60);
    const HostMatrix qkv = RandomQkv(&random, shape, kTokens);
    const Attended whole = RunPrefixed(backend_.get(), shape, qkv, kPrefix, {kTokens}, &random, 30);
    const HostMatrix causal = RunPrefixed(backend_.get(), shape, qkv, 0, {kTokens}, &random, 30).y;
    for (int32_t t = kPrefix - 1; t < kTokens; ++t) {  // Rows that the prefix does not change.
      ExpectSameBits(whole.y.Rows(t, 1), causal.Rows(t, 1));
      ASSERT_FALSE(HasFailure()) << "row " << t;
    }
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      const auto backend = GetParam().Create(threads);
      for (const int32_t chunk : GetParam().Cases<int32_t>({1, 7, 33, 250})) {
        if (is_reference && (threads > 1 || chunk == 1)) continue;
        std::vector<int32_t> counts = {kPrefix};
        for (int32_t left = kTokens - kPrefix; left > 0; left -= counts.back()) {
          counts.push_back(std::min(left, chunk));
        }
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads of " << shape.head_dim
                                          << ", chunks of " << chunk << ", " << threads);
        const Attended run = RunPrefixed(backend.get(), shape, qkv, kPrefix, counts, &random, 30);
        ExpectSameBits(run.y, whole.y);
        ExpectSameBits(run.sums, whole.sums);
        if (HasFailure()) return;
      }
    }
  }
}

// Readers of one prefix: one computes it, others take it from the index and run its last row or
// rows behind it, beside a causal sequence and another prefix, in one call.
TEST_P(PrefixAttentionTest, BatchMatesAndSharedPagesDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(62);
  struct Span {
    int32_t begin, count, prefix;
    bool shares, sums;
  };
  const int32_t kPrefix = GetParam().Many(300, 37);
  const int32_t kShared = kPrefix / kPageSlots * kPageSlots;  // In whole pages.
  const std::vector<Span> spans = {
      {kPrefix - 1, 1, kPrefix, true, false},
      {0, kPrefix, kPrefix, false, true},
      {kPrefix, 1, kPrefix, true, true},
      {kPrefix, 9, kPrefix, true, false},
      {0, 45, 0, false, true},
      {kShared, kPrefix - kShared + 3, kPrefix, true, true},
      {40, 1, 33, false, false},
  };
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 8, .num_kv_heads = 2, .head_dim = 20, .kv_dtype = dtype, .rotate = true};
    const HostMatrix prefix = RandomQkv(&random, shape, kPrefix);
    std::vector<HostMatrix> qkv;
    int32_t total = kShared / kPageSlots;
    for (const Span& span : spans) {
      qkv.push_back(RandomQkv(&random, shape, span.begin + span.count));
      if (span.shares) {
        std::copy_n(prefix.values.begin(), std::min(prefix.rows, qkv.back().rows) * prefix.cols,
                    qkv.back().values.begin());
      }
      total += PagesFor(qkv.back().rows);
    }
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << ", " << threads << " threads");
      const auto backend = GetParam().Create(threads);
      const auto pool = MakePoisonedPool(backend.get(), shape, total);
      const std::vector<int32_t> ids = random.Permutation(total);
      const std::vector<int32_t> common(ids.begin(), ids.begin() + kShared / kPageSlots);
      auto next_page = ids.begin() + kShared / kPageSlots;
      RunStep(backend.get(), shape, {{&prefix, common, 0, kShared}}, pool.get());
      std::vector<SequencePiece> pieces;
      std::vector<GuardedTensor> sums;
      for (size_t s = 0; s < spans.size(); ++s) {
        std::vector<int32_t> pages = spans[s].shares ? common : std::vector<int32_t>{};
        while (static_cast<int32_t>(pages.size()) < PagesFor(qkv[s].rows)) {
          pages.push_back(*next_page++);
        }
        // What was cached: only K and V of these rows count.
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
                          .visible_prefix = spans[s].prefix});
      }
      for (size_t s = 0; s < spans.size(); ++s) {
        if (spans[s].sums) pieces[s].sums = &sums[s].view();
      }
      const HostMatrix batch = RunStep(backend.get(), shape, pieces, pool.get());
      int64_t row = 0;
      for (size_t s = 0; s < spans.size(); ++s) {
        const int32_t tokens = static_cast<int32_t>(qkv[s].rows);
        const Attended alone = RunPrefixed(backend_.get(), shape, qkv[s], spans[s].prefix, {tokens},
                                           &random, spans[s].begin);
        ExpectSameBits(batch.Rows(row, spans[s].count),
                       alone.y.Rows(spans[s].begin, spans[s].count));
        sums[s].CheckGuards();
        ExpectSameBits(sums[s].Read(), spans[s].sums ? alone.sums : HostMatrix(1, tokens));
        if (HasFailure()) FAIL() << "sequence " << s;
        row += spans[s].count;
      }
    }
  }
}

// A prefix beyond the pages, and distances without positions, are bugs of the caller.
TEST_P(PrefixAttentionTest, ChecksItsNumbers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const AttentionShape shape;
  const auto pool = MakePoisonedPool(backend_.get(), shape, 1);
  const GuardedTensor q = GuardedTensor::Input(backend_.get(), HostMatrix(1, 1));
  const GuardedTensor y = GuardedTensor::Output(backend_.get(), HostMatrix(1, 1));
  const GuardedTensor slopes =
      GuardedTensor::Output(backend_.get(), HostMatrix(1, 1), TensorUse::kAngles);
  const std::vector<int32_t> pages = {0}, slots = {0};
  const auto run = [&](int32_t visible_prefix, const Tensor* alibi_slopes) {
    const KvSegment segment = {.num_rows = 1,
                               .pages = pages,
                               .write_slots = slots,
                               .first_visible = 1,
                               .visible_prefix = visible_prefix};
    return backend_->PagedAttention(q.view(), *pool, 1, {.scale = 1, .alibi_slopes = alibi_slopes},
                                    absl::MakeConstSpan(&segment, 1), y.view());
  };
  EXPECT_TRUE(run(16, nullptr).ok());
  EXPECT_DEATH((void)run(17, nullptr), "");
  EXPECT_DEATH((void)run(-1, nullptr), "");
  EXPECT_DEATH((void)run(1, &slopes.view()), "");
}

TEST_P(PrefixAttentionTest, ByHand) {
  // Keys are zero, so every row takes the mean of the values that it sees.
  const AttentionShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1};
  HostMatrix qkv(4, 3);
  qkv.values = {5, 0, 2, 5, 0, 4, 5, 0, 9, 5, 0, 5};
  RandomValues random(63);
  const Attended run = RunPrefixed(backend_.get(), shape, qkv, 3, {4}, &random, 0);
  for (const float y : run.y.values) ExpectNearValue(y, 5, 2e-6);
  ExpectNear(run.sums, RowVector({1.25f, 1.25f, 1.25f, 0.25f}), 1e-6);
}

}  // namespace
}  // namespace prefixd
