// GatherSlots between scrambled pages of poisoned pools. What a pool holds is seen by attending to
// it: a gathered sequence must give the bits of one that was written slot by slot.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using GatherSlotsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(GatherSlotsTest);

// Writes rows of `qkv` to slots 0, 1, ... of `pages`, unrotated.
void Write(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
           const std::vector<int32_t>& pages, KvPool* pool) {
  std::vector<int32_t> slots(qkv.rows);
  std::iota(slots.begin(), slots.end(), 0);
  const GuardedTensor rows = GuardedTensor::Output(backend, qkv);
  const KvSegment segment = {.num_rows = static_cast<int32_t>(qkv.rows),
                             .pages = pages,
                             .write_slots = slots,
                             .first_visible = 1};
  ASSERT_TRUE(
      backend
          ->WriteKv(rows.view(), nullptr, shape.num_heads, absl::MakeConstSpan(&segment, 1), pool)
          .ok());
}

// What fixed queries see of the first 1, 2, ... num_slots slots of `pages`, a row each.
HostMatrix Look(Backend* backend, const AttentionShape& shape, int32_t num_slots,
                const std::vector<int32_t>& pages, const KvPool& pool) {
  const GuardedTensor q =
      GuardedTensor::Input(backend, RandomValues(5).Matrix(num_slots, shape.output_cols()));
  std::vector<int32_t> slots(num_slots);
  std::iota(slots.begin(), slots.end(), 0);
  const KvSegment segment = {
      .num_rows = num_slots, .pages = pages, .write_slots = slots, .first_visible = 1};
  return RunOp(backend, num_slots, shape.output_cols(), [&](const Tensor& y) {
    return backend->PagedAttention(q.view(), pool, shape.num_heads, {.scale = shape.scale()},
                                   absl::MakeConstSpan(&segment, 1), y);
  });
}

std::vector<int32_t> Take(std::vector<int32_t>::const_iterator* next, int32_t count) {
  const auto begin = *next;
  *next += count;
  return {begin, *next};
}

const std::vector<AttentionShape>& Shapes() {
  static const auto* const shapes =
      new std::vector<AttentionShape>{{.num_heads = 1, .num_kv_heads = 1, .head_dim = 1},
                                      {.num_heads = 3, .num_kv_heads = 3, .head_dim = 5},
                                      {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
                                      {.num_heads = 2, .num_kv_heads = 2, .head_dim = 80},
                                      {.num_heads = 4, .num_kv_heads = 1, .head_dim = 129}};
  return *shapes;
}

TEST_P(GatherSlotsTest, MovesBitsUnchanged) {
  RandomValues random(50);
  std::mt19937 numbers(51);
  for (const AttentionShape& base : GetParam().Cases(Shapes())) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int threads : GetParam().Threads({1, 3})) {
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        SCOPED_TRACE(::testing::Message()
                     << shape.num_kv_heads << " kv heads of " << shape.head_dim << ", "
                     << DTypeName(dtype) << ", " << threads << " threads");
        const auto backend = GetParam().Create(threads);
        // Two sequences of a call, and a guard whose page must stay as it is.
        const int32_t kLength[] = {GetParam().Many(77, 37), GetParam().Many(100, 50)};
        constexpr int32_t kKept[] = {33, 16};
        const auto pool = MakePoisonedPool(backend.get(), shape, 30);
        const std::vector<int32_t> ids = random.Permutation(30);
        auto next = ids.begin();
        const std::vector<int32_t> guard_pages = Take(&next, 2);
        const HostMatrix guard = random.Matrix(32, shape.qkv_cols());
        Write(backend.get(), shape, guard, guard_pages, pool.get());
        const HostMatrix guard_before = Look(backend.get(), shape, 32, guard_pages, *pool);
        std::vector<std::vector<int32_t>> source_pages, destination_pages, sources;
        std::vector<HostMatrix> kept, source_before;
        std::vector<SlotGather> gathers;
        for (int i = 0; i < 2; ++i) {
          const HostMatrix qkv = random.Matrix(kLength[i], shape.qkv_cols());
          source_pages.push_back(Take(&next, PagesFor(kLength[i])));
          Write(backend.get(), shape, qkv, source_pages[i], pool.get());
          source_before.push_back(Look(backend.get(), shape, kLength[i], source_pages[i], *pool));
          destination_pages.push_back(Take(&next, PagesFor(kKept[i]) + 1));
          // Ascending, as a selection is, or in any order, or with repetitions.
          std::vector<int32_t>& slots = sources.emplace_back(random.Permutation(kLength[i]));
          slots.resize(kKept[i]);
          if (numbers() % 3 == 0) std::sort(slots.begin(), slots.end());
          if (numbers() % 3 == 0) slots[7] = slots[2];
          HostMatrix& rows = kept.emplace_back(kKept[i], shape.qkv_cols());
          for (int32_t d = 0; d < kKept[i]; ++d) {
            std::copy_n(qkv.row(slots[d]), qkv.cols, rows.row(d));
          }
        }
        for (int i = 0; i < 2; ++i) {
          gathers.push_back({.source_pages = source_pages[i],
                             .sources = sources[i],
                             .destination_pages = destination_pages[i]});
        }
        ASSERT_TRUE(backend->GatherSlots(gathers, pool.get()).ok());
        ASSERT_TRUE(backend->Synchronize().ok());
        for (int i = 0; i < 2; ++i) {
          const auto written = MakePoisonedPool(backend.get(), shape, 30);
          Write(backend.get(), shape, kept[i], destination_pages[i], written.get());
          ExpectSameBits(Look(backend.get(), shape, kKept[i], destination_pages[i], *pool),
                         Look(backend.get(), shape, kKept[i], destination_pages[i], *written));
          ExpectSameBits(Look(backend.get(), shape, kLength[i], source_pages[i], *pool),
                         source_before[i]);
          // The slots after the last one are as they were: NaN.
          for (int32_t slot = kKept[i]; slot < (PagesFor(kKept[i]) + 1) * kPageSlots;
               slot += GetParam().Many(1, 6)) {
            const std::vector<int32_t> page = {destination_pages[i][slot / kPageSlots]};
            const HostMatrix y = Look(backend.get(), shape, slot % kPageSlots + 1, page, *pool);
            ASSERT_TRUE(std::isnan(y.row(y.rows - 1)[0])) << slot;
          }
        }
        ExpectSameBits(Look(backend.get(), shape, 32, guard_pages, *pool), guard_before);
        if (HasFailure()) return;
      }
    }
  }
}

// `first_source` with groups of 1 .. most slots over all of `sources`.
std::vector<int32_t> RandomGroups(std::mt19937* random, int32_t num_sources, int most) {
  std::vector<int32_t> first = {0};
  while (first.back() < num_sources) {
    const int32_t count = 1 + static_cast<int32_t>((*random)() % most);
    first.push_back(std::min(num_sources, first.back() + count));
  }
  return first;
}

// Rows whose values are the means, in double, of the groups' rows.
HostMatrix Means(const HostMatrix& qkv, const std::vector<int32_t>& sources,
                 const std::vector<int32_t>& first) {
  HostMatrix means(static_cast<int64_t>(first.size()) - 1, qkv.cols);
  for (int64_t d = 0; d < means.rows; ++d) {
    for (int64_t c = 0; c < qkv.cols; ++c) {
      double sum = 0;
      for (int32_t i = first[d]; i < first[d + 1]; ++i) sum += qkv.row(sources[i])[c];
      means.row(d)[c] = static_cast<float>(sum / (first[d + 1] - first[d]));
    }
  }
  return means;
}

// Gathers means into fresh pages; returns what is seen there, and in `written` what is seen of the
// same means written directly.
HostMatrix GatherMeans(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                       const std::vector<int32_t>& sources, const std::vector<int32_t>& first,
                       HostMatrix* written) {
  const int32_t num_sources = PagesFor(qkv.rows);
  const int32_t num_means = static_cast<int32_t>(first.size()) - 1;
  const int32_t num_pages = num_sources + PagesFor(num_means);
  const std::vector<int32_t> ids = RandomValues(6).Permutation(num_pages);
  auto next = ids.begin();
  const std::vector<int32_t> source_pages = Take(&next, num_sources);
  const std::vector<int32_t> pages = Take(&next, PagesFor(num_means));
  const auto pool = MakePoisonedPool(backend, shape, num_pages);
  Write(backend, shape, qkv, source_pages, pool.get());
  const SlotGather gather = {source_pages, sources, pages, first};
  EXPECT_TRUE(backend->GatherSlots(absl::MakeConstSpan(&gather, 1), pool.get()).ok());
  const auto direct = MakePoisonedPool(backend, shape, num_pages);
  Write(backend, shape, Means(qkv, sources, first), pages, direct.get());
  *written = Look(backend, shape, num_means, pages, *direct);
  return Look(backend, shape, num_means, pages, *pool);
}

TEST_P(GatherSlotsTest, TakesMeans) {
  RandomValues random(52);
  std::mt19937 numbers(53);
  for (const AttentionShape& shape : GetParam().Cases(Shapes())) {
    for (const int most : {1, 2, 9}) {
      SCOPED_TRACE(::testing::Message() << shape.num_kv_heads << " kv heads of " << shape.head_dim
                                        << ", means of up to " << most);
      const int32_t num_tokens = GetParam().Many(150, 60);
      const HostMatrix qkv = Stored(random.Matrix(num_tokens, shape.qkv_cols()));
      const std::vector<int32_t> sources = random.Permutation(num_tokens);
      const std::vector<int32_t> first = RandomGroups(&numbers, num_tokens - 10, most);
      HostMatrix written;
      const HostMatrix seen = GatherMeans(backend_.get(), shape, qkv, sources, first, &written);
      // A mean between two numbers of a 16-bit type may be rounded to either: their distance is
      // this part of the mean.
      const DType kept = GetParam().kv_dtypes.front();
      if (kept == DType::kF32) {
        ExpectNear(seen, written, 3e-6);
      } else {
        ExpectNear(seen, written, kept == DType::kBF16 ? 0x1p-7 : 0x1p-10, Absolute(written));
      }
      if (most == 1) ExpectSameBits(seen, written);
      if (HasFailure()) return;
    }
  }
}

// With values whose sums are exact in f32, a mean that is rounded once has only one result.
TEST_P(GatherSlotsTest, RoundsMeansOnce) {
  std::mt19937 numbers(54);
  for (AttentionShape shape : GetParam().Cases(Shapes())) {
    shape.kv_dtype = DType::kBF16;
    SCOPED_TRACE(::testing::Message() << shape.num_kv_heads << " kv heads of " << shape.head_dim);
    HostMatrix qkv(96, shape.qkv_cols());
    for (float& value : qkv.values) {  // 8 bits: exact in bf16.
      value = (static_cast<float>(numbers() % 256) - 128) / 64;
    }
    const std::vector<int32_t> sources = RandomValues(55).Permutation(96);
    std::vector<int32_t> first = {0};
    for (int i = 0; first.back() + 8 <= 96; ++i) first.push_back(first.back() + (1 << i % 4));
    HostMatrix written;
    const HostMatrix seen = GatherMeans(backend_.get(), shape, qkv, sources, first, &written);
    ExpectSameBits(seen, written);
    if (HasFailure()) return;
  }
}

TEST_P(GatherSlotsTest, NothingToMoveIsFine) {
  const AttentionShape shape;
  const auto pool = MakePoisonedPool(backend_.get(), shape, 1);
  EXPECT_TRUE(backend_->GatherSlots({}, pool.get()).ok());
  const SlotGather empty;
  EXPECT_TRUE(backend_->GatherSlots(absl::MakeConstSpan(&empty, 1), pool.get()).ok());
}

// Numbers outside of tables and pools are bugs of the caller.
TEST_P(GatherSlotsTest, ChecksItsNumbers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const AttentionShape shape;
  const auto pool = MakePoisonedPool(backend_.get(), shape, 4);
  const auto gather = [&](std::vector<int32_t> source_pages, std::vector<int32_t> sources,
                          std::vector<int32_t> destination_pages, std::vector<int32_t> first) {
    const SlotGather g = {source_pages, sources, destination_pages, first};
    return backend_->GatherSlots(absl::MakeConstSpan(&g, 1), pool.get());
  };
  EXPECT_TRUE(gather({0, 1}, {31}, {2}, {}).ok());
  EXPECT_DEATH((void)gather({0, 1}, {32}, {2}, {}), "");
  EXPECT_DEATH((void)gather({0, 1}, {-1}, {2}, {}), "");
  EXPECT_DEATH((void)gather({0, 4}, {16}, {2}, {}), "");
  EXPECT_DEATH((void)gather({0, 1}, {0}, {4}, {}), "");
  EXPECT_DEATH((void)gather({0}, {0}, {}, {}), "");
  EXPECT_DEATH((void)gather({0}, {0, 1}, {2}, {0, 3}), "");
  EXPECT_DEATH((void)gather({0}, {0, 1}, {2}, {0, 1, 1}), "");
  EXPECT_DEATH((void)gather({0}, {0, 1}, {2}, {-1, 1}), "");
}

}  // namespace
}  // namespace prefixd
