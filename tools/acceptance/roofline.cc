#include "tools/acceptance/roofline.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/kernels/split_attention.h"

namespace prefixd::acceptance {

using cuda::DeviceMatrix;
using cuda::Element;

absl::StatusOr<std::unique_ptr<Roofline>> Roofline::Create(const RooflineOptions& options) {
  std::unique_ptr<Roofline> roofline(new Roofline(options));
  PREFIXD_ASSIGN_OR_RETURN(roofline->timer_, DeviceTimer::Create());
  PREFIXD_ASSIGN_OR_RETURN(roofline->gemm_, cuda::Gemm::Create({}));
  return roofline;
}

absl::StatusOr<Roofline::Matrix> Roofline::NewMatrix(int64_t rows, int64_t cols) {
  Matrix matrix;
  PREFIXD_ASSIGN_OR_RETURN(matrix.buffer,
                           DeviceBuffer::Random(static_cast<size_t>(2 * rows * cols), ++seed_));
  matrix.view = {matrix.buffer.data(), Element::kBF16, rows, cols, cols};
  return matrix;
}

absl::StatusOr<Roofline::Sequences> Roofline::NewSequences(int count, int slots, int rows_each) {
  const DecoderShape& layer = options_.model.layer;
  Sequences made;
  const int32_t per_sequence = (slots + cuda::kSlots - 1) / cuda::kSlots;
  made.pages = {nullptr, Element::kBF16, count * per_sequence, layer.num_kv_heads, layer.head_dim};
  PREFIXD_ASSIGN_OR_RETURN(
      made.pool,
      DeviceBuffer::Random(
          static_cast<size_t>(2 * made.pages.page_elements() * made.pages.num_pages), ++seed_));
  made.pages.data = made.pool.data();
  std::vector<int32_t> tables(static_cast<size_t>(made.pages.num_pages)), sequence, visible;
  std::iota(tables.begin(), tables.end(), 0);
  std::shuffle(tables.begin(), tables.end(), std::mt19937(7));
  std::vector<int64_t> written;
  for (int s = 0; s < count; ++s) {
    for (int row = 0; row < rows_each; ++row) {
      const int slot = slots - rows_each + row;
      sequence.push_back(s);
      visible.push_back(slot + 1);
      written.push_back(int64_t{tables[s * per_sequence + slot / cuda::kSlots]} * cuda::kSlots +
                        slot % cuda::kSlots);
    }
  }
  const auto rows = static_cast<int32_t>(sequence.size());
  PREFIXD_ASSIGN_OR_RETURN(made.q, NewMatrix(rows, layer.qkv_size()));
  PREFIXD_ASSIGN_OR_RETURN(made.y, NewMatrix(rows, layer.q_size()));
  PREFIXD_ASSIGN_OR_RETURN(made.tables, DeviceBuffer::Of(tables));
  PREFIXD_ASSIGN_OR_RETURN(made.sequence, DeviceBuffer::Of(sequence));
  PREFIXD_ASSIGN_OR_RETURN(made.visible, DeviceBuffer::Of(visible));
  PREFIXD_ASSIGN_OR_RETURN(made.slots, DeviceBuffer::Of(written));
  made.rows = {.num_rows = rows,
               .sequence = made.sequence.data<int32_t>(),
               .visible = made.visible.data<int32_t>(),
               .tables = made.tables.data<int32_t>(),
               .table_stride = per_sequence,
               .max_visible = slots};
  return made;
}

int Roofline::VariantsFor(double bytes) const {
  const double wanted = std::ceil(static_cast<double>(options_.cache_bytes) / std::max(bytes, 1.0));
  return static_cast<int>(std::clamp(wanted, 2.0, 8.0));
}

absl::Status Roofline::Measure(KernelTime time,
                               const std::function<absl::StatusOr<Launch>()>& make) {
  std::vector<Launch> launches;
  for (int v = 0; v < VariantsFor(time.bytes); ++v) {
    absl::StatusOr<Launch> launch = make();
    if (!launch.ok()) {
      return absl::InternalError(absl::StrCat(time.kernel, ": ", launch.status().message()));
    }
    launches.push_back(*std::move(launch));
  }
  const absl::StatusOr<double> seconds = timer_->MedianReplay(
      static_cast<int>(launches.size()), options_.replays,
      [&](int v, cudaStream_t stream) { return launches[static_cast<size_t>(v)](stream); });
  if (!seconds.ok()) {
    return absl::InternalError(
        absl::StrCat(time.kernel, " ", time.shape, ": ", seconds.status().message()));
  }
  time.seconds = *seconds;
  times_.push_back(std::move(time));
  return absl::OkStatus();
}

absl::Status Roofline::Run() {
  const std::string decode = absl::StrCat("decode of ", options_.batch);
  const std::string prefill = absl::StrCat("prefill of ", options_.prefill_rows);
  PREFIXD_RETURN_IF_ERROR(RowKernels(options_.batch, decode));
  PREFIXD_RETURN_IF_ERROR(Gemms(options_.batch, options_.batch, decode));
  PREFIXD_RETURN_IF_ERROR(KvKernels(options_.batch, decode));
  PREFIXD_RETURN_IF_ERROR(DecodeAttention(options_.batch, options_.decode_slots, decode));
  PREFIXD_RETURN_IF_ERROR(Draws(options_.batch, decode));
  PREFIXD_RETURN_IF_ERROR(RowKernels(options_.prefill_rows, prefill));
  PREFIXD_RETURN_IF_ERROR(Gemms(options_.prefill_rows, 1, prefill));
  PREFIXD_RETURN_IF_ERROR(KvKernels(options_.prefill_rows, prefill));
  PREFIXD_RETURN_IF_ERROR(PrefillAttention(options_.prefill_rows, prefill));
  PREFIXD_RETURN_IF_ERROR(DecodeAttention(1, options_.decode_slots, ""));
  for (const int slots : options_.more_decode_slots) {
    PREFIXD_RETURN_IF_ERROR(DecodeAttention(options_.batch, slots, ""));
  }
  for (const int rows : options_.more_prefill_rows) {
    PREFIXD_RETURN_IF_ERROR(PrefillAttention(rows, ""));
  }
  PREFIXD_RETURN_IF_ERROR(ColumnSums(options_.prefill_rows));
  PREFIXD_RETURN_IF_ERROR(Image());
  return Gather();
}

}  // namespace prefixd::acceptance
