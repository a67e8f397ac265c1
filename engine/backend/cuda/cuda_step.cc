#include "engine/backend/cuda/cuda_step.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/backend/cuda/kernels/kv_ops.h"

namespace prefixd::cuda {
namespace {

bool SameNumbers(absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
  return a.size() == b.size() &&
         (a.data() == b.data() || std::equal(a.begin(), a.end(), b.begin()));
}

}  // namespace

int32_t VisibleBucket(int32_t visible) {
  int64_t bucket = kSplitSlots;
  while (bucket < visible) bucket = bucket % 3 == 0 ? bucket / 3 * 4 : bucket / 2 * 3;
  return static_cast<int32_t>(std::min<int64_t>(bucket, INT32_MAX));
}

CudaStep::Offsets CudaStep::Add(const AttentionPlan& plan, HostPack* pack) {
  // In the order of the members.
  return {.sequence = pack->Add(plan.sequence),
          .visible = pack->Add(plan.visible),
          .position = pack->Add(plan.position),
          .slots = pack->Add(plan.slots),
          .context = pack->Add(plan.context),
          .path_begin = pack->Add(plan.path_begin),
          .paths = pack->Add(plan.paths),
          .tiles = pack->Add(plan.tiles),
          .shared = pack->Add(plan.shared),
          .leader = pack->Add(plan.leader),
          .member_begin = pack->Add(plan.member_begin),
          .member_count = pack->Add(plan.member_count),
          .members = pack->Add(plan.members),
          .sums = pack->Add(plan.sums)};
}

DeviceSegments CudaStep::At(const std::byte* base, const Offsets& offsets,
                            const AttentionPlan& plan) {
  const auto path_array = [&](size_t offset) {
    return plan.context.empty() ? nullptr : ArrayAt<int32_t>(base, offset);
  };
  return {.plan = &plan,
          .rows = {.num_rows = static_cast<int32_t>(plan.sequence.size()),
                   .sequence = ArrayAt<int32_t>(base, offsets.sequence),
                   .visible = ArrayAt<int32_t>(base, offsets.visible),
                   .max_visible = plan.max_visible,
                   .position = ArrayAt<int32_t>(base, offsets.position),
                   .context = path_array(offsets.context),
                   .path_begin = path_array(offsets.path_begin),
                   .paths = path_array(offsets.paths)},
          .slots = ArrayAt<int64_t>(base, offsets.slots),
          .tiles = ArrayAt<RowTile>(base, offsets.tiles),
          .groups = {.shared = ArrayAt<int32_t>(base, offsets.shared),
                     .leader = ArrayAt<int32_t>(base, offsets.leader),
                     .member_begin = ArrayAt<int32_t>(base, offsets.member_begin),
                     .member_count = ArrayAt<int32_t>(base, offsets.member_count),
                     .members = ArrayAt<int32_t>(base, offsets.members)},
          .sums = ArrayAt<SummedRows>(base, offsets.sums)};
}

absl::Status CudaStep::Begin(const ForwardInputs& inputs, const AttentionPlanOptions& options) {
  const absl::Status status = SendInputs(inputs, options);
  if (status.ok()) {
    running_ = true;
    inputs_ = inputs;
    return status;
  }
  tables_.Forget();
  PREFIXD_RETURN_IF_ERROR(ring_->Release());
  return status;
}

absl::Status CudaStep::End() {
  running_ = false;
  return ring_->Release();
}

void CudaStep::Plan(const ForwardInputs& inputs, AttentionPlanOptions options) {
  options.one_run |= inputs.decodes_only;
  const size_t num_layers = inputs.layers.size();
  const int64_t num_rows = static_cast<int64_t>(inputs.token_ids.size());
  plans_.resize(num_layers);
  int32_t max_visible = 1;
  for (size_t layer = 0; layer < num_layers; ++layer) {
    PlanAttention(inputs.layers[layer], num_rows, options, &plans_[layer]);
    max_visible = std::max(max_visible, plans_[layer].max_visible);
  }
  visible_bucket_ = inputs.decodes_only ? VisibleBucket(max_visible) : 0;
}

absl::Status CudaStep::SendInputs(const ForwardInputs& inputs,
                                  const AttentionPlanOptions& options) {
  Plan(inputs, options);
  const size_t num_layers = inputs.layers.size();
  size_t sequences = 1;
  int64_t pages = 1;
  for (const absl::Span<const KvSegment> segments : inputs.layers) {
    sequences = std::max(sequences, segments.size());
    for (const KvSegment& segment : segments) pages = std::max(pages, PagesSeen(segment));
  }
  PREFIXD_RETURN_IF_ERROR(tables_.Reserve(static_cast<int64_t>(num_layers),
                                          static_cast<int64_t>(sequences), pages, memory_));
  tables_.Update(inputs.layers, &deltas_);

  pack_.Clear();
  const size_t token_ids = pack_.Add(inputs.token_ids);
  const size_t positions = pack_.Add(inputs.positions);
  offsets_.clear();
  for (const AttentionPlan& plan : plans_) offsets_.push_back(Add(plan, &pack_));
  const size_t inputs_size = pack_.bytes().size();
  const size_t indices = pack_.Add(deltas_.indices);
  const size_t values = pack_.Add(deltas_.values);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* base, ring_->Send(pack_.bytes(), /*hold=*/true));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({tables_.data()}));
  if (!deltas_.indices.empty()) {
    PREFIXD_RETURN_IF_ERROR(health_->Check(
        LaunchApplyDeltas(ArrayAt<int32_t>(base, indices), ArrayAt<int32_t>(base, values),
                          static_cast<int64_t>(deltas_.indices.size()), tables_.data(), stream),
        "changing page tables"));
  }
  if (inputs.decodes_only) {
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const fixed, fixed_.Ensure(inputs_size, memory_));
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaMemcpyAsync(fixed, base, inputs_size, cudaMemcpyDeviceToDevice, stream),
                       "copying inputs"));
    base = fixed;
  }
  token_ids_ = ArrayAt<int32_t>(base, token_ids);
  positions_ = ArrayAt<int32_t>(base, positions);
  segments_.clear();
  for (size_t layer = 0; layer < num_layers; ++layer) {
    DeviceSegments& segments = segments_.emplace_back(At(base, offsets_[layer], plans_[layer]));
    segments.rows.tables = tables_.layer(static_cast<int64_t>(layer));
    segments.rows.table_stride = tables_.stride();
    if (!inputs.decodes_only) continue;
    segments.always_grouped = true;
    segments.rows.max_visible = visible_bucket_;
    for (AttentionPlan::Run& run : plans_[layer].runs) run.max_visible = visible_bucket_;
  }
  return absl::OkStatus();
}

const int32_t* CudaStep::FindIds(absl::Span<const int32_t> ids) const {
  if (!running_) return nullptr;
  const absl::Span<const int32_t> positions = inputs_.positions;
  const bool are_positions = ids.data() == positions.data() && ids.size() == positions.size();
  // Positions may equal the token ids by chance, in this pass but not in those that play it.
  if (are_positions && ids.data() != inputs_.token_ids.data()) return positions_;
  return SameNumbers(ids, inputs_.token_ids) ? token_ids_ : nullptr;
}

const int32_t* CudaStep::FindPositions(absl::Span<const int32_t> positions) const {
  return running_ && SameNumbers(positions, inputs_.positions) ? positions_ : nullptr;
}

const DeviceSegments* CudaStep::FindSegments(absl::Span<const KvSegment> segments) const {
  if (!running_) return nullptr;
  for (size_t layer = 0; layer < inputs_.layers.size(); ++layer) {
    const absl::Span<const KvSegment> known = inputs_.layers[layer];
    if (known.data() == segments.data() && known.size() == segments.size()) {
      return &segments_[layer];
    }
  }
  return nullptr;
}

absl::StatusOr<const DeviceSegments*> CudaStep::SendSegments(absl::Span<const KvSegment> segments,
                                                             int64_t num_rows,
                                                             const AttentionPlanOptions& options) {
  PlanAttention(segments, num_rows, options, &call_plan_);
  int64_t stride = 1;
  for (const KvSegment& segment : segments) stride = std::max(stride, PagesSeen(segment));
  call_tables_.assign(segments.size() * static_cast<size_t>(stride), 0);
  for (size_t s = 0; s < segments.size(); ++s) {
    std::copy_n(segments[s].pages.begin(), PagesSeen(segments[s]),
                call_tables_.begin() + static_cast<int64_t>(s) * stride);
  }
  pack_.Clear();
  const Offsets offsets = Add(call_plan_, &pack_);
  const size_t tables = pack_.Add(call_tables_);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, ring_->Send(pack_.bytes()));
  call_segments_ = At(base, offsets, call_plan_);
  call_segments_.rows.tables = ArrayAt<int32_t>(base, tables);
  call_segments_.rows.table_stride = static_cast<int32_t>(stride);
  return &call_segments_;
}

}  // namespace prefixd::cuda
