// A backend that hands every call on to another one; tests derive from it to watch or to change.
#ifndef PREFIXD_TESTS_BACKEND_FORWARDING_BACKEND_H_
#define PREFIXD_TESTS_BACKEND_FORWARDING_BACKEND_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/backend/backend.h"

namespace prefixd::testing {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> real) : real_(std::move(real)) {}

  const BackendInfo& info() const override { return real_->info(); }
  uint64_t AvailableMemory() const override { return real_->AvailableMemory(); }
  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    return real_->Allocate(size_bytes);
  }
  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override {
    return real_->NewScores(layers, slots);
  }
  absl::StatusOr<OwnedTensor> NewAngles(int64_t rows, int64_t head_dim) override {
    return real_->NewAngles(rows, head_dim);
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
    return real_->Download(x, y);
  }
  absl::Status Synchronize() override { return real_->Synchronize(); }
  int32_t PaddedRows(int32_t num_rows) const override { return real_->PaddedRows(num_rows); }
  absl::StatusOr<bool> BeginForward(const ForwardInputs& inputs) override {
    return real_->BeginForward(inputs);
  }
  absl::Status EndForward(absl::Status status) override {
    return real_->EndForward(std::move(status));
  }
  void SelectQueue(Queue queue) override { real_->SelectQueue(queue); }
  absl::StatusOr<uint64_t> DrawTokens(const Tensor& logits,
                                      absl::Span<const TokenDraw> draws) override {
    return real_->DrawTokens(logits, draws);
  }
  absl::Status TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) override {
    return real_->TakeDraws(ticket, drawn);
  }
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
  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, const RmsNormOptions& options,
                       const Tensor& y) override {
    return real_->RmsNorm(x, weight, options, y);
  }
  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override {
    return real_->LayerNorm(x, weight, bias, eps, y);
  }
  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override {
    return real_->GatedActivation(x, activation, y);
  }
  absl::Status Add(const Tensor& x, const Tensor& y) override { return real_->Add(x, y); }
  absl::Status Scale(float factor, const Tensor& y) override { return real_->Scale(factor, y); }
  absl::Status Clamp(float limit, const Tensor& y) override { return real_->Clamp(limit, y); }
  absl::Status CrossAttention(const Tensor& q, int num_heads, float scale,
                              absl::Span<const CrossSegment> segments, const Tensor& y) override {
    return real_->CrossAttention(q, num_heads, scale, segments, y);
  }
  absl::Status RotaryAngles(absl::Span<const int32_t> rows, absl::Span<const float> frequencies,
                            const Tensor& y) override {
    return real_->RotaryAngles(rows, frequencies, y);
  }
  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override {
    return real_->WriteKv(qkv, angles, num_heads, segments, pool);
  }
  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                              const AttentionOptions& options, absl::Span<const KvSegment> segments,
                              const Tensor& y) override {
    return real_->PagedAttention(q, pool, num_heads, options, segments, y);
  }
  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override {
    return real_->VisionAttention(qkv, num_heads, scale, y);
  }
  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override {
    return real_->Patchify(pixels, patch_size, y);
  }
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override {
    return real_->GatherSlots(gathers, pool);
  }
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override {
    return real_->CopyPages(copies, pool);
  }
  absl::Status GatherLogprobs(const Tensor& logits, absl::Span<const int32_t> rows,
                              absl::Span<const int32_t> columns, absl::Span<float> y) override {
    return real_->GatherLogprobs(logits, rows, columns, y);
  }
  absl::Status HeadLogprobs(const Tensor& x, const Matrix& weight, absl::Span<const int32_t> rows,
                            absl::Span<const int32_t> columns, absl::Span<float> y) override {
    return real_->HeadLogprobs(x, weight, rows, columns, y);
  }

 protected:
  Backend& real() const { return *real_; }

 private:
  const std::unique_ptr<Backend> real_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_BACKEND_FORWARDING_BACKEND_H_
