// Passes, recordings and draws of the CUDA backend.
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend_impl.h"

namespace prefixd::cuda {

using Turn = DecodeGraphs::Turn;

int32_t CudaBackend::PaddedRows(int32_t num_rows) const {
  return options_.graphs ? GraphRows(num_rows) : num_rows;
}

absl::StatusOr<bool> CudaBackend::BeginForward(const ForwardInputs& inputs) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_CHECK(inputs.pool != nullptr && !step_->running() && !queues_->is_image());
  PREFIXD_RETURN_IF_ERROR(step_->Begin(inputs, PlanOptions(*inputs.pool)));
  const int32_t num_rows = static_cast<int32_t>(inputs.token_ids.size());
  has_kind_ = options_.graphs && inputs.decodes_only && IsGraphRows(num_rows);
  may_record_ = has_kind_;
  turn_ = Turn::kEager;
  if (!has_kind_) return false;
  pass_ = {.num_rows = num_rows,
           .max_visible = step_->visible_bucket(),
           .num_layers = static_cast<int64_t>(inputs.layers.size()),
           .pool = inputs.pool};
  turn_ = graphs_.Next(pass_);
  if (turn_ == Turn::kPlay) {
    const absl::Status played = graphs_.Play(pass_, streams_->compute());
    PREFIXD_RETURN_IF_ERROR(step_->End());
    PREFIXD_RETURN_IF_ERROR(played);
    return true;
  }
  if (turn_ == Turn::kRecord) {
    // A recording waits for nothing that lies outside of it.
    absl::Status status = queues_->MainWaitsForImage();
    if (status.ok()) status = graphs_.BeginRecording(streams_->compute());
    if (!status.ok()) {
      PREFIXD_RETURN_IF_ERROR(step_->End());
      return status;
    }
    memory_->BeginRecording();
  }
  return false;
}

absl::Status CudaBackend::EndForward(absl::Status status) {
  if (!step_->running()) return status;
  if (turn_ == Turn::kRecord) {
    status = graphs_.EndRecording(pass_, std::move(status), streams_->compute());
    memory_->EndRecording();
  } else if (has_kind_ && status.ok()) {
    graphs_.SetWarm(pass_, may_record_);
  }
  const absl::Status ended = step_->End();
  return status.ok() ? ended : status;
}

absl::StatusOr<uint64_t> CudaBackend::DrawTokens(const Tensor& logits,
                                                 absl::Span<const TokenDraw> draws) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  return draws_->Draw(ViewOf(logits), draws);
}

absl::Status CudaBackend::TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) {
  drawn->clear();
  PREFIXD_RETURN_IF_ERROR(Enter());
  return draws_->Take(ticket, drawn);
}

absl::Status CudaBackend::GatherLogprobs(const Tensor& logits, absl::Span<const int32_t> rows,
                                         absl::Span<const int32_t> columns, absl::Span<float> y) {
  PREFIXD_CHECK(rows.size() == columns.size() && rows.size() == y.size());
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.empty()) return absl::OkStatus();
  for (size_t i = 0; i < rows.size(); ++i) {
    PREFIXD_CHECK(rows[i] >= 0 && rows[i] < logits.rows);
    PREFIXD_CHECK(columns[i] >= 0 && columns[i] < logits.cols);
  }
  PREFIXD_ASSIGN_OR_RETURN(std::byte* const result,
                           logprobs_.Ensure(y.size() * sizeof(float), memory_.get()));
  HostPack pack;
  const size_t row_offset = pack.Add(rows);
  const size_t column_offset = pack.Add(columns);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({logits.data, result}));
  PREFIXD_RETURN_IF_ERROR(Check(
      LaunchGatherLogprobs(ViewOf(logits), ArrayAt<int32_t>(base, row_offset),
                           ArrayAt<int32_t>(base, column_offset), static_cast<int64_t>(y.size()),
                           reinterpret_cast<float*>(result), stream),
      "gathering log-probabilities"));
  const int64_t count = static_cast<int64_t>(y.size());
  return Download({result, DType::kF32, 1, count, count}, y);
}

}  // namespace prefixd::cuda
