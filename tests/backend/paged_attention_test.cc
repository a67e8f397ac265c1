// WriteKv, PagedAttention and CopyPages over scrambled pages in poisoned pools.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using PagedAttentionTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(PagedAttentionTest);

// K and V rounded to the pool's dtype in advance, so that the reference sees the same numbers. Only
// meaningful without rotation.
HostMatrix RandomQkv(RandomValues* random, const AttentionShape& shape, int64_t num_tokens) {
  HostMatrix qkv = random->Matrix(num_tokens, shape.qkv_cols());
  return RoundedTo(shape.kv_dtype, qkv);
}

// More pages than needed, so that the tail of the table holds foreign ones.
std::vector<int32_t> ScrambledPages(RandomValues* random, int64_t num_tokens) {
  return random->Permutation(PagesFor(num_tokens) + 3);
}

TEST_P(PagedAttentionTest, AgreesWithTheReference) {
  RandomValues random(20);
  for (const AttentionShape& base : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1},
           {.num_heads = 6, .num_kv_heads = 1, .head_dim = 5},
           {.num_heads = 4, .num_kv_heads = 4, .head_dim = 16, .rotate = true},
           {.num_heads = 4, .num_kv_heads = 2, .head_dim = 64, .rotate = true},
           {.num_heads = 3, .num_kv_heads = 1, .head_dim = 72},
           {.num_heads = 17, .num_kv_heads = 1, .head_dim = 18},
           {.num_heads = 1, .num_kv_heads = 1, .head_dim = 128}})) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int32_t num_tokens :
           GetParam().Sizes({1, 3, 17, 63, 64, 65, 100, 255, 256, 257, 577})) {
        if (num_tokens > 300 && base.head_dim > 64) continue;  // The reference takes its time.
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads, " << shape.num_kv_heads
                                          << " kv heads of " << shape.head_dim << ", "
                                          << DTypeName(dtype) << ", " << num_tokens << " tokens");
        const HostMatrix qkv = RandomQkv(&random, shape, num_tokens);
        const std::vector<int32_t> pages = ScrambledPages(&random, num_tokens);
        // Rounding after the rotation is 2^-9 of a value in bf16.
        const double tolerance = dtype != DType::kF32 && shape.rotate ? 1e-2 : 3e-6;
        ExpectNear(RunSequence(backend_.get(), shape, qkv, num_tokens, pages),
                   RunSequence(reference_.get(), shape, qkv, num_tokens, pages), tolerance);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(PagedAttentionTest, ChunksPagesAndThreadsDoNotChangeARowsBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(21);
  for (const AttentionShape& shape : GetParam().Cases(std::vector<AttentionShape>{
           {.num_heads = 9, .num_kv_heads = 3, .head_dim = 24, .rotate = true},
           {.num_heads = 4, .num_kv_heads = 4, .head_dim = 16, .kv_dtype = DType::kBF16},
           {.num_heads = 8,
           .num_kv_heads = 1,
           .head_dim = 64,
           .kv_dtype = DType::kBF16,
           .rotate = true},
           {.num_heads = 2, .num_kv_heads = 2, .head_dim = 9}})) {
    const int32_t kTokens = GetParam().Many(530, 270);
    const HostMatrix qkv = RandomQkv(&random, shape, kTokens);
    std::vector<int32_t> in_order(PagesFor(kTokens));
    std::iota(in_order.begin(), in_order.end(), 0);
    const HostMatrix whole = RunSequence(backend_.get(), shape, qkv, kTokens, in_order);
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      const auto backend = GetParam().Create(threads);
      const std::vector<int32_t> all_chunks = {33, 7, 1, 250, kTokens};
      for (const int32_t chunk : absl::MakeConstSpan(all_chunks).first(GetParam().Many(5, 2))) {
        SCOPED_TRACE(::testing::Message() << shape.num_heads << " heads of " << shape.head_dim
                                          << ", " << DTypeName(shape.kv_dtype) << ", chunks of "
                                          << chunk << ", " << threads << " threads");
        if (chunk == 1 && (threads > 1 || backend_->info().name == "ref")) continue;
        const std::vector<int32_t> pages = ScrambledPages(&random, kTokens);
        ExpectSameBits(RunSequence(backend.get(), shape, qkv, chunk, pages), whole);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(PagedAttentionTest, BatchMatesDoNotChangeARowsBits) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(22);
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 6, .num_kv_heads = 2, .head_dim = 20, .kv_dtype = dtype, .rotate = true};
    // A decode row far on, a prefill that begins, one that crosses slot 256, a first token, a long
    // one.
    const std::vector<std::pair<int32_t, int32_t>> spans = {{300, 1}, {0, 17}, {250, 33}, {0, 1},
                                                            {0, 100}, {15, 1}, {16, 1}};
    std::vector<HostMatrix> qkv;
    for (const auto& [begin, count] : spans) {
      qkv.push_back(RandomQkv(&random, shape, begin + count));
    }
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << ", " << threads << " threads");
      const auto backend = GetParam().Create(threads);
      int32_t total = 0;
      for (const HostMatrix& sequence : qkv) total += PagesFor(sequence.rows);
      const auto pool = MakePoisonedPool(backend.get(), shape, total);
      const std::vector<int32_t> ids = random.Permutation(total);
      std::vector<SequencePiece> pieces;
      auto next_page = ids.begin();
      for (size_t s = 0; s < spans.size(); ++s) {
        const auto [begin, count] = spans[s];
        const auto end = next_page + PagesFor(qkv[s].rows);
        pieces.push_back({&qkv[s], std::vector<int32_t>(next_page, end), begin, count});
        next_page = end;
        if (begin == 0) continue;
        SequencePiece context = pieces.back();
        context.begin = 0;
        context.count = begin;
        RunStep(backend.get(), shape, {context}, pool.get());
      }
      const HostMatrix batch = RunStep(backend.get(), shape, pieces, pool.get());
      int64_t row = 0;
      for (size_t s = 0; s < spans.size(); ++s) {
        const auto [begin, count] = spans[s];
        std::vector<int32_t> pages(PagesFor(qkv[s].rows));
        std::iota(pages.begin(), pages.end(), 0);
        const HostMatrix alone =
            RunSequence(backend_.get(), shape, qkv[s], static_cast<int32_t>(qkv[s].rows), pages);
        ExpectSameBits(batch.Rows(row, count), alone.Rows(begin, count));
        if (HasFatalFailure()) FAIL() << "sequence " << s;
        row += count;
      }
    }
  }
}

TEST_P(PagedAttentionTest, SharedPagesServeBothSequences) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(23);
  const AttentionShape shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .rotate = true};
  const HostMatrix first = RandomQkv(&random, shape, 50);
  HostMatrix second = RandomQkv(&random, shape, 45);
  std::copy_n(first.values.begin(), 32 * first.cols, second.values.begin());
  const auto pool = MakePoisonedPool(backend_.get(), shape, 7);
  RunStep(backend_.get(), shape, {{&first, {6, 2, 0, 5}, 0, 50}}, pool.get());
  const HostMatrix shared =
      RunStep(backend_.get(), shape, {{&second, {6, 2, 4}, 32, 13}}, pool.get());
  const HostMatrix alone = RunSequence(backend_.get(), shape, second, 45, {0, 1, 2});
  ExpectSameBits(shared, alone.Rows(32, 13));
}

TEST_P(PagedAttentionTest, ACopiedPageContinuesApartFromItsSource) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(24);
  for (const DType dtype : GetParam().kv_dtypes) {
    const AttentionShape shape = {
        .num_heads = 4, .num_kv_heads = 2, .head_dim = 10, .kv_dtype = dtype, .rotate = true};
    const HostMatrix first = RandomQkv(&random, shape, 30);
    HostMatrix second = RandomQkv(&random, shape, 30);
    std::copy_n(first.values.begin(), 20 * first.cols, second.values.begin());
    const auto pool = MakePoisonedPool(backend_.get(), shape, 5);
    RunStep(backend_.get(), shape, {{&first, {3, 1}, 0, 20}}, pool.get());
    const std::vector<PageCopy> copies = {{.source = 1, .destination = 4}};
    ASSERT_TRUE(backend_->CopyPages(copies, pool.get()).ok());
    const HostMatrix both = RunStep(
        backend_.get(), shape, {{&second, {3, 4}, 20, 10}, {&first, {3, 1}, 20, 10}}, pool.get());
    ExpectSameBits(both.Rows(0, 10),
                   RunSequence(backend_.get(), shape, second, 30, {0, 1}).Rows(20, 10));
    ExpectSameBits(both.Rows(10, 10),
                   RunSequence(backend_.get(), shape, first, 30, {0, 1}).Rows(20, 10));
  }
}

TEST_P(PagedAttentionTest, SlotsMayBeFilledInAnyOrder) {
  RandomValues random(25);
  const AttentionShape shape = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  constexpr int32_t kTokens = 40;
  const HostMatrix qkv = random.Matrix(kTokens, shape.qkv_cols());
  const std::vector<int32_t> pages = {2, 0, 3};
  const std::vector<int32_t> slots = random.Permutation(kTokens);
  const auto last_row = [&](Backend* backend) {
    const auto pool = MakePoisonedPool(backend, shape, 4);
    const GuardedTensor rows = GuardedTensor::Output(backend, qkv);
    const KvSegment write = {
        .num_rows = kTokens, .pages = pages, .write_slots = slots, .first_visible = 1};
    EXPECT_TRUE(
        backend->WriteKv(rows.view(), nullptr, 2, absl::MakeConstSpan(&write, 1), pool.get()).ok());
    const KvSegment read = {.num_rows = 1,
                            .pages = pages,
                            .write_slots = absl::MakeConstSpan(slots).last(1),
                            .first_visible = kTokens};
    return RunOp(backend, 1, shape.output_cols(), [&](const Tensor& y) {
      return backend->PagedAttention(rows.view().Rows(kTokens - 1, 1), *pool, 2,
                                     {.scale = shape.scale()}, absl::MakeConstSpan(&read, 1), y);
    });
  };
  const HostMatrix y = last_row(backend_.get());
  ExpectNear(y, last_row(reference_.get()), 2e-6);
  ExpectNear(y, RunSequence(reference_.get(), shape, qkv, kTokens, {0, 1, 2}).Rows(kTokens - 1, 1),
             2e-6);
}

TEST_P(PagedAttentionTest, WriteKvRotatesTheQueriesInPlace) {
  RandomValues random(26);
  for (const int head_dim : {2, 6, 34, 64}) {
    const HostMatrix qkv = random.Matrix(11, 5 * head_dim);
    HostMatrix angles = random.Matrix(11, head_dim);
    const std::vector<int32_t> pages = {0};
    const std::vector<int32_t> slots = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const KvSegment segment = {
        .num_rows = 11, .pages = pages, .write_slots = slots, .first_visible = 1};
    const auto queries = [&](Backend* backend, bool rotate) {
      const auto pool =
          MakePool(backend, {.num_pages = 1, .num_kv_heads = 1, .head_dim = head_dim});
      const GuardedTensor a = GuardedTensor::Output(backend, angles, TensorUse::kAngles);
      const HostMatrix after = RunOpOn(backend, qkv, [&](const Tensor& y) {
        return backend->WriteKv(y, rotate ? &a.view() : nullptr, 3,
                                absl::MakeConstSpan(&segment, 1), pool.get());
      });
      HostMatrix q(11, 3 * head_dim);
      for (int64_t t = 0; t < 11; ++t) std::copy_n(after.row(t), 3 * head_dim, q.row(t));
      return q;
    };
    ExpectNear(queries(backend_.get(), true), queries(reference_.get(), true), 3e-7);
    ExpectSameBits(queries(backend_.get(), false), queries(reference_.get(), false));
  }
}

// Of every head the first values turn, in pairs (i, i + half); the rest stay as they are.
TEST_P(PagedAttentionTest, WriteKvRotatesAPartOfTheHeads) {
  RandomValues random(27);
  for (const auto& [head_dim, rotated] :
       std::vector<std::pair<int, int>>{{20, 6}, {64, 16}, {9, 2}, {80, 80}, {72, 36}}) {
    SCOPED_TRACE(::testing::Message() << rotated << " of " << head_dim);
    const AttentionShape shape = {.num_heads = 3, .num_kv_heads = 1, .head_dim = head_dim};
    const HostMatrix qkv = Stored(random.Matrix(11, shape.qkv_cols()));
    const HostMatrix angles = random.Matrix(11, rotated);
    HostMatrix turned = qkv;
    for (int64_t t = 0; t < 11; ++t) {
      for (int head = 0; head < 4; ++head) {
        const float* const x = qkv.row(t) + head * head_dim;
        float* const y = turned.row(t) + head * head_dim;
        const int half = rotated / 2;
        for (int i = 0; i < half; ++i) {
          const double cosine = angles.row(t)[i], sine = angles.row(t)[half + i];
          y[i] = static_cast<float>(x[i] * cosine - x[half + i] * sine);
          y[half + i] = static_cast<float>(x[half + i] * cosine + x[i] * sine);
        }
      }
    }
    const std::vector<int32_t> pages = {0}, slots = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const KvSegment segment = {
        .num_rows = 11, .pages = pages, .write_slots = slots, .first_visible = 1};
    const auto pool = MakePoisonedPool(backend_.get(), shape, 1);
    const GuardedTensor a = GuardedTensor::Output(backend_.get(), angles, TensorUse::kAngles);
    const HostMatrix after = RunOpOn(backend_.get(), qkv, [&](const Tensor& y) {
      return backend_->WriteKv(y, &a.view(), 3, absl::MakeConstSpan(&segment, 1), pool.get());
    });
    HostMatrix q(11, shape.output_cols()), expected_q = q;
    for (int64_t t = 0; t < 11; ++t) {
      std::copy_n(after.row(t), q.cols, q.row(t));
      std::copy_n(turned.row(t), q.cols, expected_q.row(t));
    }
    ExpectNear(q, expected_q, 3e-7);
    // The keys turned too: attention is that of the turned rows.
    const GuardedTensor rows = GuardedTensor::Input(backend_.get(), turned);
    const HostMatrix y = RunOp(backend_.get(), 11, shape.output_cols(), [&](const Tensor& out) {
      return backend_->PagedAttention(rows.view(), *pool, 3, {.scale = shape.scale()},
                                      absl::MakeConstSpan(&segment, 1), out);
    });
    ExpectNear(y, RunSequence(reference_.get(), shape, turned, 11, {0}), 3e-6);
    if (HasFailure()) return;
  }
}

TEST_P(PagedAttentionTest, WeighsValuesByHand) {
  // q . k0 = 0 and q . k1 = ln 3, so the weights are 1/4 and 3/4.
  const AttentionShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 2};
  const float ln3 = std::log(3.0f) * std::sqrt(2.0f);  // Undoes the scale 1 / sqrt(2).
  HostMatrix qkv(2, 6);
  qkv.values = {9, 9, 0,   5, 4, 0,  //
                1, 0, ln3, 7, 8, 4};
  const HostMatrix y = RunSequence(backend_.get(), shape, qkv, 2, {1, 0});
  EXPECT_EQ(y.row(0)[0], 4.0f);  // The first row sees itself only.
  EXPECT_EQ(y.row(0)[1], 0.0f);
  ExpectNearValue(y.row(1)[0], 7.0f, 2e-6);
  ExpectNearValue(y.row(1)[1], 3.0f, 2e-6);
}

TEST_P(PagedAttentionTest, NeighbouringHeadsShareAKvHead) {
  const AttentionShape shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 1};
  HostMatrix qkv(1, 8);
  qkv.values = {1, 2, 3, 4, 1, 1, 10, 20};
  const HostMatrix y = RunSequence(backend_.get(), shape, qkv, 1, {0});
  EXPECT_EQ(y.values, (std::vector<float>{10, 10, 20, 20}));
}

TEST_P(PagedAttentionTest, HugeScoresPickTheLargestWithoutOverflow) {
  const AttentionShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1};
  const int32_t kTokens = GetParam().Many(600, 310);
  HostMatrix qkv(kTokens, 3);
  for (int32_t t = 0; t < kTokens; ++t) {
    qkv.row(t)[0] = 1e4f;
    qkv.row(t)[1] = t == 300 ? 50.0f : -50.0f;
    qkv.row(t)[2] = static_cast<float>(t);
  }
  std::vector<int32_t> pages(PagesFor(kTokens));
  std::iota(pages.begin(), pages.end(), 0);
  const HostMatrix y = RunSequence(backend_.get(), shape, qkv, kTokens, pages);
  EXPECT_EQ(y.row(299)[0] < 300 && y.row(299)[0] >= 0, true);
  for (int32_t t = 300; t < kTokens; ++t) ASSERT_EQ(y.row(t)[0], 300.0f) << t;
}

}  // namespace
}  // namespace prefixd
