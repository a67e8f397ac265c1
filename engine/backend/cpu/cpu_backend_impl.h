// The CPU backend's class; see backend.h for the contract of every method. Calls return when their
// work is done, so Synchronize does nothing.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_IMPL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_IMPL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/attention_call.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/backend/cpu/level.h"
#include "engine/backend/cpu/matrix.h"
#include "engine/backend/cpu/thread_pool.h"

namespace prefixd::cpu {

class CpuBackend final : public Backend {
 public:
  // With `round_activations`, Linear rounds x to bf16 where the weights are bf16; tensors stay f32.
  // Requires then: level.kernels has pair_product.
  CpuBackend(const Level& level, int num_threads, bool round_activations);

  // For benchmarks and tests; see Attention.
  void set_share_pages(bool share) { attention_.set_share_pages(share); }

  const BackendInfo& info() const override { return info_; }

  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override;
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override;
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override;
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override;
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override;
  absl::Status Download(const Tensor& x, absl::Span<float> y) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids, const Tensor& y) override;
  absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                        absl::Span<const int32_t> y_rows, const Tensor& y) override;
  absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                      const Tensor& y) override;
  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, const RmsNormOptions& options,
                       const Tensor& y) override;
  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override;
  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override;
  absl::Status Add(const Tensor& x, const Tensor& y) override;
  absl::Status Scale(float factor, const Tensor& y) override;
  absl::Status Clamp(float limit, const Tensor& y) override;
  absl::Status RotaryAngles(absl::Span<const int32_t> positions,
                            absl::Span<const float> inverse_frequencies, const Tensor& y) override;
  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override;
  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                              const AttentionOptions& options, absl::Span<const KvSegment> segments,
                              const Tensor& y) override;
  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override;
  absl::Status CrossAttention(const Tensor& q, int num_heads, float scale,
                              absl::Span<const CrossSegment> segments, const Tensor& y) override;
  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override;
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override;
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override;
  absl::Status HeadLogprobs(const Tensor& x, const Matrix& weight, absl::Span<const int32_t> rows,
                            absl::Span<const int32_t> columns, absl::Span<float> y) override;

 private:
  // Calls body(row) for every row, on all threads if the work (in elements) is worth it.
  void ForRows(int64_t rows, int64_t elements_per_row, absl::FunctionRef<void(int64_t)> body);

  void AddTree(const KvSegment& segment);

  // Attention to keys and values that lie in rows of matrices, not in pages: they are copied into
  // pages of scratch, the heads' apart, whose ids go from matrix to matrix.
  struct DenseKv {
    Tensor k, v;             // [rows, H * head_dim].
    int64_t first_page = 0;  // Set by CopyToPages.

    int64_t num_pages() const { return (k.rows + kPageSlots - 1) / kPageSlots; }
  };
  // Errors: RESOURCE_EXHAUSTED.
  absl::Status CopyToPages(const PageLayout& layout, int num_heads, absl::Span<DenseKv> matrices);
  // The call that reads them.
  AttentionCall DenseCall(const Tensor& q, int num_heads, float scale, const PageLayout& layout,
                          const Tensor& y) const;

  // The rows of x as bf16 pairs, in scratch. Errors: RESOURCE_EXHAUSTED.
  absl::StatusOr<Tensor> PackPairs(const Tensor& x);
  bool RoundsFor(const PanelMatrix& matrix) const;
  // x as MultiplyPanels takes it for that matrix, perhaps in scratch, and scratch for it. Errors:
  // RESOURCE_EXHAUSTED.
  absl::StatusOr<Tensor> PrepareRows(const Tensor& x, const PanelMatrix& matrix);
  // Linear over the columns of y alone: those of the matrix from 64 * first_panel on. `rows` comes
  // from PrepareRows.
  void MultiplyPanels(const Tensor& rows, const PanelMatrix& matrix, int64_t first_panel,
                      const LinearOptions& options, const Tensor& y);

  // A row of HeadLogprobs: entries [begin, end) of its arguments. The softmax state is that of the
  // tiles of columns so far.
  struct HeadRow {
    int64_t row = 0;
    size_t begin = 0, end = 0;
    double max = 0, sum = 0;
  };
  // HeadLogprobs of so many rows that a tile of their logits stays near. y holds logits for a
  // while.
  absl::Status HeadLogprobsOf(const Tensor& x, const PanelMatrix& weight, absl::Span<HeadRow> rows,
                              absl::Span<const int32_t> columns, absl::Span<float> y);
  // The rows without those between them, in scratch unless they are neighbours. Errors:
  // RESOURCE_EXHAUSTED.
  absl::StatusOr<Tensor> CompactRows(const Tensor& x, absl::Span<const HeadRow> rows);

  BackendInfo info_;
  const bool round_activations_;
  const Kernels* const kernels_;
  ThreadPool pool_;
  Attention attention_;
  std::vector<Buffer> accumulators_;  // One per thread, for Linear: sums, then widened weights.
  Buffer pairs_;                      // Rounded activations; only grows.
  Buffer head_tile_;                  // Logits of HeadLogprobs; only grows.
  Buffer head_inputs_;                // Its rows, where some are left out; only grows.
  std::vector<HeadRow> head_rows_;
  Buffer dense_pages_;                   // Of CopyToPages; only grows.
  int64_t num_dense_pages_ = 0;          // Of each head.
  std::vector<int32_t> dense_page_ids_;  // 0, 1, ...
  std::vector<DenseKv> dense_kv_;
  struct PageOfDense {
    const DenseKv* kv;
    int64_t page;  // Within it.
  };
  std::vector<PageOfDense> pages_of_dense_;
  struct RowOfSegment {
    const KvSegment* segment;
    int32_t row;
  };
  std::vector<RowOfSegment> segment_rows_;
  struct PageOfGather {
    const SlotGather* gather;
    int32_t page;  // Of its destinations.
  };
  std::vector<PageOfGather> gather_pages_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_IMPL_H_
