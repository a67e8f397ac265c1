// PagedAttention with AttentionOptions::alibi_slopes, over positions that the pool keeps: through
// WriteKv, GatherSlots and CopyPages.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/backend/attention_in_double.h"
#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using AlibiAttentionTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(AlibiAttentionTest);

// A sequence alone in scrambled pages of a poisoned pool, all rows with sums.
Attended RunAlone(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                  const std::vector<int32_t>& counts, RandomValues* random,
                  int32_t first_position = 0) {
  const std::vector<int32_t> pages = random->Permutation(PagesFor(qkv.rows) + 3);
  const auto pool = MakePoisonedPool(backend, shape, static_cast<int32_t>(pages.size()));
  const GuardedTensor sums =
      GuardedTensor::Output(backend, HostMatrix(1, qkv.rows), TensorUse::kScores);
  Attended run;
  run.y = RunSteps(backend, shape,
                   {.qkv = &qkv,
                    .pages = pages,
                    .sums = &sums.view(),
                    .position_of_first_token = first_position},
                   counts, pool.get());
  sums.CheckGuards();
  run.sums = sums.Read();
  return run;
}

TEST_P(AlibiAttentionTest, AgreesWithDoubles) {
  RandomValues random(70);
  for (const AttentionShape& base : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1, .alibi = true},
           {.num_heads = 6, .num_kv_heads = 1, .head_dim = 5, .alibi = true},
           {.num_heads = 4, .num_kv_heads = 4, .head_dim = 80, .alibi = true},
           {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64, .alibi = true},
           {.num_heads = 12, .num_kv_heads = 12, .head_dim = 16, .alibi = true},
           {.num_heads = 51, .num_kv_heads = 1, .head_dim = 9, .alibi = true},
           {.num_heads = 3, .num_kv_heads = 3, .head_dim = 128, .alibi = true}})) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int32_t num_tokens : GetParam().Sizes({1, 15, 16, 17, 100, 256, 257, 577})) {
        if (num_tokens > 300 && base.output_cols() > 64) continue;  // Doubles take their time.
        if (GetParam().slow && num_tokens > 100 && base.output_cols() > 64) continue;
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads, " << shape.num_kv_heads
                                          << " kv heads of " << shape.head_dim << ", "
                                          << DTypeName(dtype) << ", " << num_tokens << " tokens");
        const HostMatrix qkv = Stored(RandomQkv(&random, shape, num_tokens));
        HostMatrix sums;
        const HostMatrix y = SequenceInDouble(shape, qkv, 0, 0, &sums);
        const Attended run = RunAlone(backend_.get(), shape, qkv, {num_tokens}, &random);
        ExpectNear(run.y, y, 5e-6);
        // A share of each sum, however far the bias pushed it down.
        HostMatrix scale = sums;
        for (float& value : scale.values) value += 1e-2f;
        ExpectNear(run.sums, sums, 2e-5, scale);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(AlibiAttentionTest, ByHand) {
  // The one slope is 2^-8. q . k0 = ln 3 + 2^-8, so that less the bias the weights are 3/4 and 1/4.
  const AttentionShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1, .alibi = true};
  HostMatrix qkv(2, 3);
  qkv.values = {9, std::log(3.0f) + 0x1p-8f, 4, 1, 0, 8};
  RandomValues random(71);
  const Attended run = RunAlone(backend_.get(), shape, qkv, {2}, &random);
  ExpectNearValue(run.y.values[0], 4, 1e-6);
  ExpectNearValue(run.y.values[1], 5, 4e-6);
}

TEST_P(AlibiAttentionTest, CutsPagesThreadsAndTheOriginOfPositionsDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(72);
  const bool is_reference = backend_->info().name == "ref";
  for (const AttentionShape& shape : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 9, .num_kv_heads = 3, .head_dim = 24, .alibi = true},
           {.num_heads = 4,
           .num_kv_heads = 4,
           .head_dim = 17,
           .kv_dtype = DType::kBF16,
           .rotate = false,
           .alibi = true},
           {.num_heads = 8, .num_kv_heads = 1, .head_dim = 32, .alibi = true}})) {
    const int32_t kTokens = GetParam().Many(530, 60);
    const HostMatrix qkv = RandomQkv(&random, shape, kTokens);
    const Attended whole = RunAlone(backend_.get(), shape, qkv, {kTokens}, &random);
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      const auto backend = GetParam().Create(threads);
      for (const int32_t chunk : GetParam().Cases<int32_t>({kTokens, 250, 33, 7, 1})) {
        if (is_reference && (threads > 1 || chunk < 33)) continue;
        std::vector<int32_t> counts;
        for (int32_t left = kTokens; left > 0; left -= counts.back()) {
          counts.push_back(std::min(left, chunk));
        }
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads of " << shape.head_dim
                                          << ", chunks of " << chunk << ", " << threads);
        const Attended run = RunAlone(backend.get(), shape, qkv, counts, &random, 100003);
        ExpectSameBits(run.y, whole.y);
        ExpectSameBits(run.sums, whole.sums);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(AlibiAttentionTest, BatchMatesAndSharedPagesDoNotChangeTheBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(73);
  struct Span {
    int32_t begin, count;
    bool shares, sums;
  };
  const int32_t kShared = 3 * kPageSlots;
  const int32_t kFar = GetParam().Many(300, 60);
  const std::vector<Span> spans = {{kFar, 1, true, false},   {0, 17, false, true},
                                   {kShared, 1, true, true}, {50, 33, true, true},
                                   {60, 1, true, false},     {kShared, 20, true, false}};
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 6, .num_kv_heads = 2, .head_dim = 20, .kv_dtype = dtype, .alibi = true};
    const HostMatrix prefix = RandomQkv(&random, shape, kShared);
    std::vector<HostMatrix> qkv;
    int32_t total = 3;
    for (const Span& span : spans) {
      qkv.push_back(RandomQkv(&random, shape, span.begin + span.count));
      if (span.shares) std::copy(prefix.values.begin(), prefix.values.end(), qkv.back().row(0));
      total += PagesFor(qkv.back().rows);
    }
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << ", " << threads << " threads");
      const auto backend = GetParam().Create(threads);
      const auto pool = MakePoisonedPool(backend.get(), shape, total);
      const std::vector<int32_t> ids = random.Permutation(total);
      const std::vector<int32_t> common(ids.begin(), ids.begin() + 3);
      auto next_page = ids.begin() + 3;
      RunStep(backend.get(), shape, {{&prefix, common, 0, kShared}}, pool.get());
      std::vector<SequencePiece> pieces;
      std::vector<GuardedTensor> sums;
      for (size_t s = 0; s < spans.size(); ++s) {
        std::vector<int32_t> pages = spans[s].shares ? common : std::vector<int32_t>{};
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
        pieces.push_back(
            {.qkv = &qkv[s], .pages = pages, .begin = spans[s].begin, .count = spans[s].count});
      }
      for (size_t s = 0; s < spans.size(); ++s) {
        if (spans[s].sums) pieces[s].sums = &sums[s].view();
      }
      const HostMatrix batch = RunStep(backend.get(), shape, pieces, pool.get());
      int64_t row = 0;
      for (size_t s = 0; s < spans.size(); ++s) {
        const auto [begin, count, shares, has_sums] = spans[s];
        const auto alone_pool = MakePoisonedPool(backend_.get(), shape, PagesFor(qkv[s].rows));
        std::vector<int32_t> pages(PagesFor(qkv[s].rows));
        std::iota(pages.begin(), pages.end(), 0);
        const GuardedTensor alone_sums =
            GuardedTensor::Output(backend_.get(), HostMatrix(1, qkv[s].rows), TensorUse::kScores);
        const HostMatrix alone = RunSteps(
            backend_.get(), shape,
            {.qkv = &qkv[s], .pages = pages, .sums = &alone_sums.view(), .first_summed_row = begin},
            {begin + count}, alone_pool.get());
        ExpectSameBits(batch.Rows(row, count), alone.Rows(begin, count));
        sums[s].CheckGuards();
        ExpectSameBits(sums[s].Read(), has_sums ? alone_sums.Read() : HostMatrix(1, qkv[s].rows));
        if (HasFailure()) FAIL() << "sequence " << s;
        row += count;
      }
    }
  }
}

// Writes the rows of `qkv` into slots of `pages`; row i has position first_position + i.
void Write(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
           int32_t first_position, const std::vector<int32_t>& slots,
           const std::vector<int32_t>& pages, KvPool* pool) {
  const GuardedTensor rows = GuardedTensor::Output(backend, qkv);
  const KvSegment segment = {.num_rows = static_cast<int32_t>(qkv.rows),
                             .pages = pages,
                             .write_slots = slots,
                             .first_visible = 1,
                             .first_position = first_position};
  ASSERT_TRUE(
      backend
          ->WriteKv(rows.view(), nullptr, shape.num_heads, absl::MakeConstSpan(&segment, 1), pool)
          .ok());
}

// What one row at `position` sees of slots [0, visible).
HostMatrix Look(Backend* backend, const AttentionShape& shape, const HostMatrix& q,
                int32_t position, int32_t visible, const std::vector<int32_t>& pages,
                const KvPool& pool) {
  const GuardedTensor row = GuardedTensor::Input(backend, q);
  const GuardedTensor slopes =
      GuardedTensor::Output(backend, RowVector(shape.slopes()), TensorUse::kAngles);
  const std::vector<int32_t> slots = {0};
  const KvSegment segment = {.num_rows = 1,
                             .pages = pages,
                             .write_slots = slots,
                             .first_visible = visible,
                             .first_position = position};
  return RunOp(backend, 1, shape.output_cols(), [&](const Tensor& y) {
    return backend->PagedAttention(row.view(), pool, shape.num_heads,
                                   {.scale = shape.scale(), .alibi_slopes = &slopes.view()},
                                   absl::MakeConstSpan(&segment, 1), y);
  });
}

// Positions go with their tokens: into any slot, through a selection, means and copied pages.
TEST_P(AlibiAttentionTest, PositionsMoveWithTheirSlots) {
  RandomValues random(74);
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 6, .num_kv_heads = 3, .head_dim = 10, .kv_dtype = dtype, .alibi = true};
    SCOPED_TRACE(DTypeName(dtype));
    constexpr int32_t kTokens = 75, kKept = 37, kFirst = 1000, kRow = 1200;
    const HostMatrix qkv = Stored(RandomQkv(&random, shape, kTokens));
    const HostMatrix q = Stored(random.Matrix(1, shape.output_cols()));
    const auto pool = MakePoisonedPool(backend_.get(), shape, 20);
    const std::vector<int32_t> ids = random.Permutation(20);
    auto take = [&ids, next = 0](int count) mutable {
      next += count;
      return std::vector<int32_t>(ids.begin() + next - count, ids.begin() + next);
    };
    const std::vector<int32_t> pages = take(5), kept_pages = take(3), copied_pages = take(3),
                               mean_pages = take(2);
    const std::vector<int32_t> slots = random.Permutation(kTokens);
    std::vector<int32_t> token_of(kTokens);
    for (int32_t t = 0; t < kTokens; ++t) token_of[slots[t]] = t;
    Write(backend_.get(), shape, qkv, kFirst, slots, pages, pool.get());
    const auto expect = [&](const std::vector<int32_t>& seen_pages,
                            const std::vector<int32_t>& tokens, const HostMatrix& kv) {
      SeenSlots seen;
      for (size_t s = 0; s < tokens.size(); ++s) {
        seen.kv.push_back(kv.row(s) + shape.output_cols());
        seen.distances.push_back(kFirst + tokens[s] - kRow);
      }
      HostMatrix expected(1, shape.output_cols());
      AttendInDouble(shape, q.row(0), seen, expected.row(0), nullptr);
      ExpectNear(Look(backend_.get(), shape, q, kRow, static_cast<int32_t>(tokens.size()),
                      seen_pages, *pool),
                 expected, dtype == DType::kF32 ? 4e-6 : 1e-2);
    };
    const auto rows_of = [&](const std::vector<int32_t>& tokens) {
      HostMatrix rows(static_cast<int64_t>(tokens.size()), qkv.cols);
      for (size_t i = 0; i < tokens.size(); ++i) {
        std::copy_n(qkv.row(tokens[i]), qkv.cols, rows.row(i));
      }
      return rows;
    };
    {
      SCOPED_TRACE("written in any order");
      expect(pages, token_of, rows_of(token_of));
    }
    std::vector<int32_t> sources = random.Permutation(kTokens);
    sources.resize(kKept);
    std::vector<int32_t> kept;
    for (const int32_t slot : sources) kept.push_back(token_of[slot]);
    // Groups of 1, 2, 3, ... slots; a mean has the position of its first source.
    std::vector<int32_t> first = {0}, first_tokens;
    HostMatrix means(0, qkv.cols);
    while (first.back() < kKept) {
      const int32_t begin = first.back();
      first.push_back(std::min<int32_t>(kKept, begin + static_cast<int32_t>(first.size())));
      first_tokens.push_back(kept[begin]);
      for (int64_t c = 0; c < qkv.cols; ++c) {
        double sum = 0;
        for (int32_t i = begin; i < first.back(); ++i) sum += qkv.row(kept[i])[c];
        means.values.push_back(static_cast<float>(sum / (first.back() - begin)));
      }
      ++means.rows;
    }
    const SlotGather gather = {pages, sources, kept_pages, {}};
    ASSERT_TRUE(backend_->GatherSlots(absl::MakeConstSpan(&gather, 1), pool.get()).ok());
    const SlotGather averages = {pages, sources, mean_pages, first};
    const absl::Status averaged =
        backend_->GatherSlots(absl::MakeConstSpan(&averages, 1), pool.get());
    std::vector<PageCopy> copies;
    for (int i = 0; i < 3; ++i) copies.push_back({kept_pages[i], copied_pages[i]});
    ASSERT_TRUE(backend_->CopyPages(copies, pool.get()).ok());
    {
      SCOPED_TRACE("gathered");
      expect(kept_pages, kept, rows_of(kept));
    }
    {
      SCOPED_TRACE("copied");
      expect(copied_pages, kept, rows_of(kept));
    }
    if (!absl::IsUnimplemented(averaged)) {
      SCOPED_TRACE("averaged");
      ASSERT_TRUE(averaged.ok()) << averaged;
      expect(mean_pages, first_tokens, means);
    }
    if (HasFailure()) return;
  }
}

TEST_P(AlibiAttentionTest, APoolThatKeepsPositionsIsOtherwiseTheSame) {
  RandomValues random(75);
  AttentionShape shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 12};
  constexpr int32_t kTokens = 50;
  const HostMatrix qkv = RandomQkv(&random, shape, kTokens);
  const std::vector<int32_t> pages = {2, 0, 5, 1};
  const HostMatrix plain = RunSequence(backend_.get(), shape, qkv, kTokens, pages);
  AttentionShape kept = shape;
  kept.alibi = true;
  const auto pool = MakePoisonedPool(backend_.get(), kept, 6);
  const SequencePiece piece = {.qkv = &qkv, .pages = pages, .count = kTokens};
  ExpectSameBits(RunStep(backend_.get(), shape, {piece}, pool.get()), plain);
}

}  // namespace
}  // namespace prefixd
