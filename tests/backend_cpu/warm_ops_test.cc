// Ops of a warm backend take no memory from the heap.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "engine/backend/cpu/cpu_backend.h"
#include "gtest/gtest.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

void* operator new(size_t size) {
  allocations.fetch_add(1);
  void* data = std::malloc(size);
  if (data == nullptr) std::abort();
  return data;
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }

namespace prefixd {
namespace {

constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 16, kContext = 600;
constexpr int kQkvCols = (kHeads + 2 * kKvHeads) * kHeadDim;

class WarmOps : public testing::Test {
 protected:
  Tensor New(int64_t rows, int64_t cols) {
    buffers_.push_back(backend_->Allocate(rows * cols * sizeof(float)).value());
    return {buffers_.back().data(), DType::kF32, rows, cols, cols};
  }

  const std::unique_ptr<Backend> backend_ = CreateCpuBackend({.num_threads = 2}).value();
  std::vector<Buffer> buffers_;
};

TEST_F(WarmOps, AllocateNothing) {
  const auto weight = backend_->CreateMatrix(DType::kBF16, kQkvCols, 512).value();
  const auto pool = backend_->CreateKvPool({40, kKvHeads, kHeadDim, DType::kF32, true}).value();
  const Tensor hidden = New(kContext, 512), norm = New(kContext, 512), scale = New(1, 512);
  const Tensor qkv = New(kContext, kQkvCols), out = New(kContext, kHeads * kHeadDim);
  const Tensor angles = New(kContext, kHeadDim);
  const Tensor image = New(40, 3 * kHeads * kHeadDim), features = New(40, kHeads * kHeadDim);
  const Tensor attended = New(100, kHeads * kHeadDim);
  std::vector<int32_t> pages(40), slots(kContext);
  for (int i = 0; i < 40; ++i) pages[i] = 39 - i;
  for (int i = 0; i < kContext; ++i) slots[i] = i;
  const std::vector<float> frequencies(kHeadDim / 2, 0.5f);
  const KvSegment prefill = {0, kContext, pages, slots, 1};
  const KvSegment decode = {0, 1, pages, absl::MakeConstSpan(slots).first(1), kContext};
  const Tensor sums = New(1, kContext);
  const auto with_sums = [&](KvSegment segment) {
    segment.sums = &sums;
    return segment;
  };
  const auto step = [&](const KvSegment& segment) {
    const Tensor rows = hidden.Rows(0, segment.num_rows);
    const auto segments = absl::MakeConstSpan(&segment, 1);
    bool ok = backend_->RmsNorm(rows, scale, {.eps = 1e-5f}, norm.Rows(0, rows.rows)).ok();
    ok &= backend_->Linear(norm.Rows(0, rows.rows), *weight, {}, qkv.Rows(0, rows.rows)).ok();
    ok &= backend_
              ->RotaryAngles(absl::MakeConstSpan(slots).first(rows.rows), frequencies,
                             angles.Rows(0, rows.rows))
              .ok();
    const Tensor row_angles = angles.Rows(0, rows.rows);
    ok &= backend_->WriteKv(qkv.Rows(0, rows.rows), &row_angles, kHeads, segments, pool.get()).ok();
    ok &= backend_
              ->PagedAttention(qkv.Rows(0, rows.rows), *pool, kHeads, {.scale = 0.25f}, segments,
                               out.Rows(0, rows.rows))
              .ok();
    return ok && backend_->VisionAttention(image, kHeads, 0.25f, features).ok();
  };
  // Models of other families: distances, a prefix that sees itself, latents beside the text.
  const Tensor slopes = New(1, kHeads), latents = New(70, 2 * kHeads * kHeadDim);
  KvSegment whole_prefix = with_sums(prefill);
  whole_prefix.visible_prefix = 500;
  const CrossSegment images[] = {{1, 30, latents}, {31, 9, latents}, {50, 7, latents.Rows(3, 20)}};
  const auto other_ops = [&] {
    const auto segments = absl::MakeConstSpan(&whole_prefix, 1);
    return backend_->WriteKv(qkv, nullptr, kHeads, segments, pool.get()).ok() &&
           backend_
               ->PagedAttention(qkv, *pool, kHeads, {.scale = 0.25f, .alibi_slopes = &slopes},
                                segments, out)
               .ok() &&
           backend_->CrossAttention(out.Rows(0, 100), kHeads, 0.25f, images, attended).ok() &&
           backend_->Scale(2.0f, out).ok() && backend_->Clamp(2.0f, out).ok();
  };
  // Sequences on one prefix, with a page each of their own.
  std::vector<std::vector<int32_t>> shared_pages;
  std::vector<KvSegment> shared;
  for (int i = 0; i < 20; ++i) {
    shared_pages.emplace_back(pages.begin(), pages.begin() + 18).push_back(i);
  }
  for (int i = 0; i < 20; ++i) shared.push_back({2 * i, 2, shared_pages[i], {}, 290});
  const auto attend_shared = [&] {
    return backend_
        ->PagedAttention(qkv.Rows(0, 40), *pool, kHeads, {.scale = 0.25f}, shared, out.Rows(0, 40))
        .ok();
  };
  const auto kept_pages = absl::MakeConstSpan(pages).first(18);
  const auto spare_pages = absl::MakeConstSpan(pages).last(2);
  const std::vector<int32_t> kept = {3, 17, 40, 41, 280}, groups = {0, 2, 5};
  const SlotGather gathers[] = {{kept_pages, kept, spare_pages.first(1), {}},
                                {kept_pages, kept, spare_pages.last(1), groups}};
  // A trie's nodes behind a context, and the log-probabilities of their children.
  const std::vector<int32_t> begins = {0, 1, 3, 6}, paths = {300, 300, 309, 300, 309, 304};
  const std::vector<int32_t> nodes = {300, 309, 304};
  const KvSegment tree = {.num_rows = 3,
                          .pages = pages,
                          .write_slots = nodes,
                          .first_visible = 299,
                          .first_position = 299,
                          .path_begins = begins,
                          .path_slots = paths};
  const std::vector<int32_t> of_rows = {0, 0, 2}, of_columns = {1, 100, 7};
  std::vector<float> logprobs(3);
  const auto tree_step = [&] {
    const auto segments = absl::MakeConstSpan(&tree, 1);
    return backend_->WriteKv(qkv.Rows(0, 3), nullptr, kHeads, segments, pool.get()).ok() &&
           backend_
               ->PagedAttention(qkv.Rows(0, 3), *pool, kHeads,
                                {.scale = 0.25f, .alibi_slopes = &slopes}, segments, out.Rows(0, 3))
               .ok() &&
           backend_
               ->HeadLogprobs(hidden.Rows(0, 3), *weight, of_rows, of_columns,
                              absl::MakeSpan(logprobs))
               .ok();
  };
  const auto steps = [&] {
    return step(prefill) && step(decode) && step(with_sums(prefill)) && step(with_sums(decode)) &&
           attend_shared() && other_ops() && tree_step() &&
           backend_->GatherSlots(gathers, pool.get()).ok();
  };
  ASSERT_TRUE(steps());
  const int64_t before = allocations.load();
  EXPECT_GT(before, 0);
  ASSERT_TRUE(steps());
  EXPECT_EQ(allocations.load() - before, 0);
}

}  // namespace
}  // namespace prefixd
