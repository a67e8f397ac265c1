// A real backend that is watched: what it was asked to move, to add up and to rotate, and failures
// on demand.
#ifndef PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_
#define PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/backend/backend.h"

namespace prefixd::testing {

class SpyBackend : public Backend {
 public:
  explicit SpyBackend(std::unique_ptr<Backend> real) : real_(std::move(real)) {}

  // Attention sums that were read back.
  struct Scores {
    int64_t num_layers = 0, slots = 0;
    std::vector<float> values;  // [num_layers][slots].
  };
  std::vector<Scores> scores;
  std::vector<std::vector<int32_t>> gathered;   // The sources of every gather.
  std::vector<std::vector<int32_t>> positions;  // Of the rows, call by call.
  // The op fails this many calls from now: 1, the next one; 0: never.
  int fail_gather = 0, fail_new_scores = 0, fail_scores = 0;

  const BackendInfo& info() const override { return real_->info(); }
  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    return real_->Allocate(size_bytes);
  }
  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override {
    if (Fails(&fail_new_scores)) return absl::ResourceExhaustedError("injected");
    auto made = real_->NewScores(layers, slots);
    if (made.ok()) score_buffers_.emplace_back(made->buffer.data(), made->buffer.size_bytes());
    return made;
  }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override {
    return real_->CreateMatrix(dtype, rows, cols);
  }
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override {
    return real_->WriteMatrixRows(row_begin, bytes, matrix);
  }
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override {
    return real_->CreateKvPool(shape);
  }
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override {
    return real_->Upload(x, y);
  }
  absl::Status Download(const Tensor& x, absl::Span<float> y) override {
    const bool of_scores = IsOfScores(x);
    if (of_scores && Fails(&fail_scores)) return absl::InternalError("injected");
    const absl::Status status = real_->Download(x, y);
    if (of_scores && status.ok()) scores.push_back({x.rows, x.cols, {y.begin(), y.end()}});
    return status;
  }
  absl::Status Synchronize() override { return real_->Synchronize(); }
  absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids, const Tensor& y) override {
    return real_->Embed(table, ids, y);
  }
  absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                        absl::Span<const int32_t> y_rows, const Tensor& y) override {
    return real_->CopyRows(x, x_rows, y_rows, y);
  }
  absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                      const Tensor& y) override {
    return real_->Linear(x, weight, options, y);
  }
  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) override {
    return real_->RmsNorm(x, weight, eps, y);
  }
  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override {
    return real_->LayerNorm(x, weight, bias, eps, y);
  }
  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override {
    return real_->GatedActivation(x, activation, y);
  }
  absl::Status Add(const Tensor& x, const Tensor& y) override { return real_->Add(x, y); }
  absl::Status RotaryAngles(absl::Span<const int32_t> rows, absl::Span<const float> frequencies,
                            const Tensor& y) override {
    positions.emplace_back(rows.begin(), rows.end());
    return real_->RotaryAngles(rows, frequencies, y);
  }
  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override {
    return real_->WriteKv(qkv, angles, num_heads, segments, pool);
  }
  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads, float scale,
                              absl::Span<const KvSegment> segments, const Tensor& y) override {
    return real_->PagedAttention(q, pool, num_heads, scale, segments, y);
  }
  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override {
    return real_->VisionAttention(qkv, num_heads, scale, y);
  }
  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override {
    return real_->Patchify(pixels, patch_size, y);
  }
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override {
    if (Fails(&fail_gather)) return absl::InternalError("injected");
    for (const SlotGather& gather : gathers) {
      gathered.emplace_back(gather.sources.begin(), gather.sources.end());
    }
    return real_->GatherSlots(gathers, pool);
  }
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override {
    return real_->CopyPages(copies, pool);
  }

 private:
  static bool Fails(int* countdown) { return *countdown > 0 && --*countdown == 0; }
  bool IsOfScores(const Tensor& x) const {
    return std::any_of(score_buffers_.begin(), score_buffers_.end(), [&x](const auto& buffer) {
      return x.data >= buffer.first && x.data < buffer.first + buffer.second;
    });
  }

  const std::unique_ptr<Backend> real_;
  std::vector<std::pair<const std::byte*, size_t>> score_buffers_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_
