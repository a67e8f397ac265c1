// The class behind ref_backend.h; its ops lie in ref_backend.cc (memory), ref_ops.cc and
// ref_attention.cc. Engine thread only.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_IMPL_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_IMPL_H_

#include <memory>

#include "engine/backend/backend.h"

namespace prefixd::ref {

class RefBackend final : public Backend {
 public:
  RefBackend();

  const BackendInfo& info() const override { return info_; }

  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override;
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override;
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override;
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override;
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override;
  absl::Status Download(const Tensor& x, absl::Span<float> y) override;
  absl::Status Synchronize() override;

  absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids, const Tensor& y) override;
  absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                        absl::Span<const int32_t> y_rows, const Tensor& y) override;
  absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                      const Tensor& y) override;
  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) override;
  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override;
  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override;
  absl::Status Add(const Tensor& x, const Tensor& y) override;
  absl::Status RotaryAngles(absl::Span<const int32_t> positions,
                            absl::Span<const float> inverse_frequencies, const Tensor& y) override;
  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override;
  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads, float scale,
                              absl::Span<const KvSegment> segments, const Tensor& y) override;
  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override;
  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override;
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override;

 private:
  const BackendInfo info_;
};

}  // namespace prefixd::ref

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_IMPL_H_
