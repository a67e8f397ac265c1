// The CUDA backend's class; see backend.h for the contract of every method. Ops enqueue and return;
// Download, TakeDraws, GatherLogprobs, HeadLogprobs and Synchronize wait.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda_backend.h"
#include "engine/backend/cuda/cuda_draws.h"
#include "engine/backend/cuda/cuda_graphs.h"
#include "engine/backend/cuda/cuda_health.h"
#include "engine/backend/cuda/cuda_memory.h"
#include "engine/backend/cuda/cuda_queues.h"
#include "engine/backend/cuda/cuda_staging.h"
#include "engine/backend/cuda/cuda_step.h"
#include "engine/backend/cuda/cuda_storage.h"
#include "engine/backend/cuda/cuda_streams.h"
#include "engine/backend/cuda/cuda_transfer.h"
#include "engine/backend/cuda/gemm.h"

namespace prefixd::cuda {

class CudaBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<CudaBackend>> Create(const CudaBackendOptions& options);
  // Waits for all work.
  ~CudaBackend() override;

  const BackendInfo& info() const override { return info_; }
  uint64_t AvailableMemory() const override;
  // For tests.
  size_t used_bytes() const { return memory_->used_bytes(); }
  size_t num_recordings() const { return graphs_.num_recordings(); }

  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override;
  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override;
  absl::StatusOr<OwnedTensor> NewAngles(int64_t rows, int64_t head_dim) override;
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override;
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override;
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override;
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override;
  absl::Status Download(const Tensor& x, absl::Span<float> y) override;
  absl::Status Synchronize() override;

  int32_t PaddedRows(int32_t num_rows) const override;
  absl::StatusOr<bool> BeginForward(const ForwardInputs& inputs) override;
  absl::Status EndForward(absl::Status status) override;
  void SelectQueue(Queue queue) override;
  absl::StatusOr<uint64_t> DrawTokens(const Tensor& logits,
                                      absl::Span<const TokenDraw> draws) override;
  absl::Status TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) override;
  absl::Status GatherLogprobs(const Tensor& logits, absl::Span<const int32_t> rows,
                              absl::Span<const int32_t> columns, absl::Span<float> y) override;
  absl::Status HeadLogprobs(const Tensor& x, const Matrix& weight, absl::Span<const int32_t> rows,
                            absl::Span<const int32_t> columns, absl::Span<float> y) override;

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

 private:
  // Memory that ops of a queue need for themselves.
  struct QueueScratch {
    Scratch product;  // [rows, columns] of Linear, kF32.
    Scratch states, lse, probabilities;
  };
  // Floats that never change, by their values.
  struct Constant {
    std::vector<float> values;
    Buffer device;
  };
  struct AttentionCall;

  explicit CudaBackend(const CudaBackendOptions& options);
  absl::Status Open();

  // Makes the device current on this thread; fails once it is lost.
  absl::Status Enter();
  absl::Status Check(cudaError_t error, const char* what) { return health_.Check(error, what); }
  QueueScratch& scratch() { return queues_->is_image() ? image_scratch_ : main_scratch_; }
  absl::StatusOr<OwnedTensor> NewMatrix(DType dtype, int64_t rows, int64_t cols);
  // Sends a pack for an op's own use. Passes in which that happens are not recorded.
  absl::StatusOr<const std::byte*> Send(const HostPack& pack);
  absl::Status ScaleAndClamp(float factor, float limit, const Tensor& y, const char* what);
  absl::StatusOr<const float*> ConstantFloats(absl::Span<const float> values);

  AttentionPlanOptions PlanOptions(const KvPool& pool) const;
  absl::StatusOr<const DeviceSegments*> FindOrSend(absl::Span<const KvSegment> segments,
                                                   int64_t num_rows,
                                                   const AttentionPlanOptions& options);
  absl::Status RunSplits(const AttentionCall& call, const AttentionPlan::Run& run);
  absl::Status RunTiles(const AttentionCall& call);
  absl::Status RunSums(const AttentionCall& call);
  absl::StatusOr<DeviceMatrix> CompactRows(const Tensor& x, absl::Span<const int32_t> rows,
                                           const int32_t* device_rows, const int32_t* places);
  absl::Status MoveSlots(absl::Span<const SlotGather> gathers, bool means, const KvPages& pages);

  const CudaBackendOptions options_;
  BackendInfo info_;
  CudaHealth health_;
  DecodeGraphs graphs_{&health_};
  // Freed in the opposite order: memory last but for the streams.
  std::unique_ptr<CudaStreams> streams_;
  std::unique_ptr<CudaQueues> queues_;
  std::unique_ptr<DeviceMemory> memory_;
  std::unique_ptr<StagingRing> ring_;
  std::unique_ptr<Transfers> transfers_;
  std::unique_ptr<CudaStep> step_;
  std::unique_ptr<CudaDraws> draws_;
  std::unique_ptr<Gemm> gemm_;
  QueueScratch main_scratch_, image_scratch_;
  std::vector<Constant> constants_;
  size_t next_constant_ = 0;
  Scratch logprobs_, head_rows_;

  // The running pass.
  bool has_kind_ = false;  // Whether passes like this one are recorded at all; then:
  PassKind pass_;
  DecodeGraphs::Turn turn_ = DecodeGraphs::Turn::kEager;
  bool may_record_ = false;  // Passes like this one may be recorded, so far.
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_
