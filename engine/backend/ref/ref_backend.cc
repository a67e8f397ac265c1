#include "engine/backend/ref/ref_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/backend/check_tree.h"
#include "engine/backend/ref/ref_attention.h"
#include "engine/backend/ref/ref_head.h"
#include "engine/backend/ref/ref_storage.h"
#include "engine/tensor/quantized.h"

namespace prefixd {
namespace {

using ref::AttendOne;
using ref::RefKvPool;
using ref::RefMatrix;
using ref::RowOf;

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

// Element `index` of little-endian bytes that may be unaligned.
float WidenElement(DType dtype, const uint8_t* bytes, int64_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, bytes + index * 4, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + index * 2, sizeof(bits));
  return dtype == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
}

// Rows inside the batch, at least one visible slot, and pages for all that rows see or write.
void CheckSegment(const KvSegment& segment, int64_t batch_rows) {
  PREFIXD_CHECK(segment.row_begin >= 0 && segment.num_rows >= 0 && segment.first_visible >= 1);
  PREFIXD_CHECK(int64_t{segment.row_begin} + segment.num_rows <= batch_rows);
  PREFIXD_CHECK(static_cast<int64_t>(segment.write_slots.size()) == segment.num_rows);
  const int64_t num_slots = static_cast<int64_t>(segment.pages.size()) * kPageSlots;
  for (const int32_t slot : segment.write_slots) PREFIXD_CHECK(slot >= 0 && slot < num_slots);
  if (segment.is_tree()) return CheckTree(segment);
  PREFIXD_CHECK(int64_t{segment.first_visible} + segment.num_rows - 1 <= num_slots);
  PREFIXD_CHECK(segment.visible_prefix >= 0 && segment.visible_prefix <= num_slots);
}

// The slots that a row sees, in the order in which they count.
std::vector<int32_t> SeenSlots(const KvSegment& segment, int32_t row) {
  const int32_t first = segment.is_tree()
                            ? segment.first_visible
                            : std::max(segment.first_visible + row, segment.visible_prefix);
  std::vector<int32_t> slots(static_cast<size_t>(first));
  std::iota(slots.begin(), slots.end(), 0);
  if (segment.is_tree()) {
    const auto path =
        segment.path_slots.subspan(segment.path_begins[row], segment.path_length(row));
    slots.insert(slots.end(), path.begin(), path.end());
  }
  return slots;
}

class RefBackend final : public Backend {
 public:
  const BackendInfo& info() const override { return info_; }

  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    // Fresh mappings are zero, page-aligned and cost nothing until touched.
    const size_t mapped = std::max<size_t>(size_bytes, 1);
    void* const data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", size_bytes, " bytes"));
    }
    const Buffer::Free unmap = [](void*, std::byte* memory, size_t size) {
      munmap(memory, std::max<size_t>(size, 1));
    };
    return Buffer(static_cast<std::byte*>(data), size_bytes, unmap, nullptr);
  }

  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override {
    PREFIXD_CHECK(dtype != DType::kF64 && rows > 0 && cols > 0);
    PREFIXD_CHECK(cols % BlockOf(dtype).elements == 0);
    return std::make_unique<RefMatrix>(dtype, rows, cols);
  }

  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override {
    auto* const target = static_cast<RefMatrix*>(matrix);
    const int64_t cols = target->cols();
    const int64_t row_bytes = RowBytes(target->dtype(), cols);
    const int64_t num_rows = static_cast<int64_t>(bytes.size()) / row_bytes;
    PREFIXD_CHECK(num_rows * row_bytes == static_cast<int64_t>(bytes.size()));
    PREFIXD_CHECK(row_begin >= 0 && row_begin + num_rows <= target->rows());
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const row = target->row(row_begin + r);
      const uint8_t* const stored = bytes.data() + r * row_bytes;
      if (IsQuantized(target->dtype())) {
        DequantizeRow(target->dtype(), stored, cols, row);
        continue;
      }
      for (int64_t c = 0; c < cols; ++c) row[c] = WidenElement(target->dtype(), stored, c);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override {
    KvPoolShape stored = shape;
    stored.dtype = DType::kF64;
    const std::optional<uint64_t> bytes = CheckedMul(RefKvPool::PageValues(stored) * sizeof(double),
                                                     static_cast<uint64_t>(stored.num_pages));
    if (!bytes.has_value()) {
      return absl::ResourceExhaustedError(
          absl::StrCat(stored.num_pages, " pages of KV do not fit in memory"));
    }
    PREFIXD_ASSIGN_OR_RETURN(Buffer memory, Allocate(*bytes));
    return std::make_unique<RefKvPool>(stored, std::move(memory));
  }

  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override {
    PREFIXD_CHECK(static_cast<int64_t>(x.size()) == y.rows * y.cols);
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t c = 0; c < y.cols; ++c) RowOf(y, t)[c] = x[static_cast<size_t>(t * y.cols + c)];
    }
    return absl::OkStatus();
  }

  absl::Status Download(const Tensor& x, absl::Span<float> y) override {
    PREFIXD_CHECK(static_cast<int64_t>(y.size()) == x.rows * x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t c = 0; c < x.cols; ++c) {
        y[static_cast<size_t>(t * x.cols + c)] = static_cast<float>(RowOf(x, t)[c]);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids, const Tensor& y) override {
    PREFIXD_CHECK(static_cast<int64_t>(ids.size()) == y.rows && y.cols == table.cols());
    for (int64_t t = 0; t < y.rows; ++t) {
      const int32_t id = ResolveId(ids[t]);
      PREFIXD_CHECK(id < table.rows());
      const float* const row = static_cast<const RefMatrix&>(table).row(id);
      for (int64_t c = 0; c < y.cols; ++c) RowOf(y, t)[c] = row[c];
    }
    return absl::OkStatus();
  }

  absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                        absl::Span<const int32_t> y_rows, const Tensor& y) override {
    PREFIXD_CHECK(x_rows.size() == y_rows.size() && x.cols == y.cols);
    for (size_t i = 0; i < x_rows.size(); ++i) {
      std::copy_n(RowOf(x, x_rows[i]), x.cols, RowOf(y, y_rows[i]));
    }
    return absl::OkStatus();
  }

  absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                      const Tensor& y) override {
    PREFIXD_CHECK(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
    PREFIXD_CHECK(options.bias == nullptr || options.bias->cols == y.cols);
    const auto& matrix = static_cast<const RefMatrix&>(weight);
    for (int64_t t = 0; t < x.rows; ++t) {
      const double* const in = RowOf(x, t);
      double* const out = RowOf(y, t);
      for (int64_t n = 0; n < y.cols; ++n) {
        const float* const row = matrix.row(n);
        double sum = 0;
        for (int64_t k = 0; k < x.cols; ++k) sum += in[k] * row[k];
        if (options.bias != nullptr) sum += RowOf(*options.bias, 0)[n];
        sum = Activate(options.activation, sum);
        out[n] = options.accumulate ? out[n] + sum : sum;
      }
    }
    return absl::OkStatus();
  }

  absl::Status HeadLogprobs(const Tensor& x, const Matrix& weight, absl::Span<const int32_t> rows,
                            absl::Span<const int32_t> columns, absl::Span<float> y) override {
    PREFIXD_CHECK(x.cols == weight.cols() && rows.size() == columns.size() &&
                  rows.size() == y.size());
    std::vector<double> logits;
    for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
      while (end < rows.size() && rows[end] == rows[begin]) ++end;
      PREFIXD_CHECK(begin == 0 || rows[begin - 1] < rows[begin]);
      ref::HeadLogprobsOfRow(RowOf(x, rows[begin]), static_cast<const RefMatrix&>(weight),
                             columns.subspan(begin, end - begin), &logits,
                             y.subspan(begin, end - begin));
    }
    return absl::OkStatus();
  }

  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, const RmsNormOptions& options,
                       const Tensor& y) override {
    PREFIXD_CHECK(x.cols == weight.cols && x.cols == y.cols && x.rows == y.rows);
    for (int64_t t = 0; t < x.rows; ++t) {
      double squares = 0;
      for (int64_t c = 0; c < x.cols; ++c) squares += RowOf(x, t)[c] * RowOf(x, t)[c];
      const double factor = 1 / std::sqrt(squares / static_cast<double>(x.cols) + options.eps);
      for (int64_t c = 0; c < x.cols; ++c) {
        RowOf(y, t)[c] = RowOf(x, t)[c] * factor * (options.weight_offset + RowOf(weight, 0)[c]);
      }
    }
    return absl::OkStatus();
  }

  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override {
    PREFIXD_CHECK(x.cols == weight.cols && x.cols == bias.cols && x.cols == y.cols);
    const double count = static_cast<double>(x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      const double* const in = RowOf(x, t);
      double sum = 0, squares = 0;
      for (int64_t c = 0; c < x.cols; ++c) sum += in[c];
      const double mean = sum / count;
      for (int64_t c = 0; c < x.cols; ++c) squares += (in[c] - mean) * (in[c] - mean);
      const double factor = 1 / std::sqrt(squares / count + eps);
      for (int64_t c = 0; c < x.cols; ++c) {
        RowOf(y, t)[c] = (in[c] - mean) * factor * RowOf(weight, 0)[c] + RowOf(bias, 0)[c];
      }
    }
    return absl::OkStatus();
  }

  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override {
    PREFIXD_CHECK(x.cols == 2 * y.cols && x.rows == y.rows);
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t c = 0; c < y.cols; ++c) {
        RowOf(y, t)[c] = Activate(activation, RowOf(x, t)[c]) * RowOf(x, t)[y.cols + c];
      }
    }
    return absl::OkStatus();
  }

  absl::Status Add(const Tensor& x, const Tensor& y) override {
    PREFIXD_CHECK(x.cols == y.cols && (x.rows == y.rows || x.rows == 1));
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t c = 0; c < y.cols; ++c) RowOf(y, t)[c] += RowOf(x, x.rows == 1 ? 0 : t)[c];
    }
    return absl::OkStatus();
  }

  absl::Status Scale(float factor, const Tensor& y) override {
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t c = 0; c < y.cols; ++c) RowOf(y, t)[c] *= factor;
    }
    return absl::OkStatus();
  }

  absl::Status Clamp(float limit, const Tensor& y) override {
    PREFIXD_CHECK(limit > 0);
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t c = 0; c < y.cols; ++c) {
        RowOf(y, t)[c] = std::min<double>(std::max<double>(RowOf(y, t)[c], -limit), limit);
      }
    }
    return absl::OkStatus();
  }

  absl::Status RotaryAngles(absl::Span<const int32_t> positions,
                            absl::Span<const float> inverse_frequencies, const Tensor& y) override {
    const int64_t half = static_cast<int64_t>(inverse_frequencies.size());
    PREFIXD_CHECK(static_cast<int64_t>(positions.size()) == y.rows && y.cols == 2 * half);
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(positions[t]) * inverse_frequencies[i];
        RowOf(y, t)[i] = std::cos(static_cast<double>(angle));
        RowOf(y, t)[half + i] = std::sin(static_cast<double>(angle));
      }
    }
    return absl::OkStatus();
  }

  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override {
    auto* const pages = static_cast<RefKvPool*>(pool);
    const int dim = pool->shape().head_dim;
    const int kv_heads = pool->shape().num_kv_heads;
    PREFIXD_CHECK(qkv.cols == int64_t{num_heads + 2 * kv_heads} * dim);
    if (angles != nullptr) {
      PREFIXD_CHECK(angles->rows == qkv.rows && angles->cols <= dim && angles->cols % 2 == 0);
    }
    for (const KvSegment& segment : segments) {
      CheckSegment(segment, qkv.rows);
      for (int32_t i = 0; i < segment.num_rows; ++i) {
        const int64_t t = segment.row_begin + i;
        double* const row = RowOf(qkv, t);
        if (angles != nullptr) {
          for (int h = 0; h < num_heads + kv_heads; ++h)
            Rotate(RowOf(*angles, t), static_cast<int>(angles->cols), row + h * dim);
        }
        const int32_t page = segment.pages[segment.write_slots[i] / kPageSlots];
        const int32_t slot = segment.write_slots[i] % kPageSlots;
        pages->set_position(page, slot, segment.position(i));
        for (int h = 0; h < kv_heads; ++h) {
          std::copy_n(row + (num_heads + h) * dim, dim, pages->at(page, RefKvPool::kKey, h, slot));
          std::copy_n(row + (num_heads + kv_heads + h) * dim, dim,
                      pages->at(page, RefKvPool::kValue, h, slot));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                              const AttentionOptions& options, absl::Span<const KvSegment> segments,
                              const Tensor& y) override {
    const auto& pages = static_cast<const RefKvPool&>(pool);
    const int dim = pool.shape().head_dim;
    const int group = num_heads / pool.shape().num_kv_heads;
    PREFIXD_CHECK(q.cols >= int64_t{num_heads} * dim && y.cols == int64_t{num_heads} * dim);
    PREFIXD_CHECK(q.rows == y.rows && num_heads % pool.shape().num_kv_heads == 0);
    PREFIXD_CHECK(options.alibi_slopes == nullptr ||
                  (pool.shape().keeps_positions && options.alibi_slopes->cols == num_heads));
    for (const KvSegment& segment : segments) {
      CheckSegment(segment, q.rows);
      std::vector<int32_t> slots;  // That the row sees.
      const auto part = [&](RefKvPool::Part which, int head) {
        return [&pages, &segment, &slots, which, head](int j) {
          return pages.at(segment.pages[slots[j] / kPageSlots], which, head, slots[j] % kPageSlots);
        };
      };
      const int32_t last_visible =
          std::max(segment.first_visible + segment.num_rows - 1, segment.visible_prefix);
      PREFIXD_CHECK(segment.sums == nullptr ||
                    (segment.sums->rows == 1 && segment.sums->cols >= last_visible &&
                     segment.first_summed_row >= 0));
      for (int32_t i = 0; i < segment.num_rows; ++i) {
        const int64_t t = segment.row_begin + i;
        slots = SeenSlots(segment, i);
        std::vector<double> probabilities(slots.size());  // Of all heads.
        for (int h = 0; h < num_heads; ++h) {
          const auto bias = [&](int j) {
            if (options.alibi_slopes == nullptr) return 0.0;
            const int32_t page = segment.pages[slots[j] / kPageSlots];
            const int32_t distance =
                pages.position(page, slots[j] % kPageSlots) - segment.position(i);
            return RowOf(*options.alibi_slopes, 0)[h] * distance;
          };
          AttendOne({RowOf(q, t) + h * dim, static_cast<size_t>(dim)},
                    static_cast<int>(slots.size()), options.scale, part(RefKvPool::kKey, h / group),
                    part(RefKvPool::kValue, h / group), bias, RowOf(y, t) + h * dim,
                    probabilities.data());
        }
        if (segment.sums == nullptr || i < segment.first_summed_row) continue;
        for (size_t s = 0; s < slots.size(); ++s) {
          RowOf(*segment.sums, 0)[s] += probabilities[s] / num_heads;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override {
    const int64_t width = y.cols;
    const int64_t dim = width / num_heads;
    PREFIXD_CHECK(qkv.cols == 3 * width && qkv.rows == y.rows && dim * num_heads == width);
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int h = 0; h < num_heads; ++h) {
        AttendOne(
            {RowOf(qkv, t) + h * dim, static_cast<size_t>(dim)}, static_cast<int>(y.rows), scale,
            [&](int j) { return RowOf(qkv, j) + width + h * dim; },
            [&](int j) { return RowOf(qkv, j) + 2 * width + h * dim; }, NoBias,
            RowOf(y, t) + h * dim, nullptr);
      }
    }
    return absl::OkStatus();
  }

  absl::Status CrossAttention(const Tensor& q, int num_heads, float scale,
                              absl::Span<const CrossSegment> segments, const Tensor& y) override {
    const int64_t width = y.cols;
    const int64_t dim = width / num_heads;
    PREFIXD_CHECK(q.cols == width && q.rows == y.rows && dim * num_heads == width);
    for (int64_t t = 0; t < y.rows; ++t) std::fill_n(RowOf(y, t), width, 0.0);
    int64_t end = 0;
    for (const CrossSegment& segment : segments) {
      const Tensor& kv = segment.kv;
      PREFIXD_CHECK(segment.row_begin >= end && segment.num_rows >= 0);
      end = int64_t{segment.row_begin} + segment.num_rows;
      PREFIXD_CHECK(end <= y.rows && kv.rows >= 1 && kv.cols == 2 * width);
      for (int64_t t = segment.row_begin; t < end; ++t) {
        for (int h = 0; h < num_heads; ++h) {
          AttendOne(
              {RowOf(q, t) + h * dim, static_cast<size_t>(dim)}, static_cast<int>(kv.rows), scale,
              [&](int j) { return RowOf(kv, j) + h * dim; },
              [&](int j) { return RowOf(kv, j) + width + h * dim; }, NoBias, RowOf(y, t) + h * dim,
              nullptr);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override {
    const int64_t side = static_cast<int64_t>(std::llround(std::sqrt(pixels.cols)));
    const int64_t patch = patch_size, grid = side / patch;
    PREFIXD_CHECK(pixels.rows == 3 && side * side == pixels.cols);
    PREFIXD_CHECK(y.rows == grid * grid && y.cols == 3 * patch * patch);
    for (int64_t t = 0; t < y.rows; ++t) {
      for (int64_t i = 0; i < y.cols; ++i) {
        const int64_t channel = i / (patch * patch);
        const int64_t line = t / grid * patch + i / patch % patch;
        const int64_t column = t % grid * patch + i % patch;
        RowOf(y, t)[i] = RowOf(pixels, channel)[line * side + column];
      }
    }
    return absl::OkStatus();
  }

  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override {
    auto* const pages = static_cast<RefKvPool*>(pool);
    const KvPoolShape& shape = pool->shape();
    for (const SlotGather& gather : gathers) {
      const bool averages = !gather.first_source.empty();
      const size_t count = averages ? gather.first_source.size() - 1 : gather.sources.size();
      PREFIXD_CHECK(count <= gather.destination_pages.size() * kPageSlots);
      for (size_t d = 0; d < count; ++d) {
        const int64_t first = averages ? gather.first_source[d] : static_cast<int64_t>(d);
        const int64_t last = averages ? gather.first_source[d + 1] : first + 1;
        PREFIXD_CHECK(first >= 0 && first < last &&
                      last <= static_cast<int64_t>(gather.sources.size()));
        const auto sources = gather.sources.subspan(first, last - first);
        for (const auto part : {RefKvPool::kKey, RefKvPool::kValue}) {
          for (int h = 0; h < shape.num_kv_heads; ++h) {
            GatherOne(gather, sources, part, h, static_cast<int32_t>(d), pages);
          }
        }
        pages->set_position(
            gather.destination_pages[d / kPageSlots], d % kPageSlots,
            pages->position(gather.source_pages[sources[0] / kPageSlots], sources[0] % kPageSlots));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override {
    auto* const pages = static_cast<RefKvPool*>(pool);
    const auto exists = [pool](int32_t id) { return id >= 0 && id < pool->shape().num_pages; };
    for (const PageCopy& copy : copies) {
      PREFIXD_CHECK(exists(copy.source) && exists(copy.destination));
      std::copy_n(pages->page(copy.source), pages->page_values(), pages->page(copy.destination));
    }
    return absl::OkStatus();
  }

 private:
  static double NoBias(int) { return 0.0; }

  // One head's K or V of slot d: the mean of the sources'.
  static void GatherOne(const SlotGather& gather, absl::Span<const int32_t> sources,
                        RefKvPool::Part part, int head, int32_t d, RefKvPool* pages) {
    const int dim = pages->shape().head_dim;
    std::vector<double> mean(static_cast<size_t>(dim));
    for (size_t i = 0; i < sources.size(); ++i) {
      const int32_t slot = sources[i];
      PREFIXD_CHECK(slot >= 0 &&
                    slot / kPageSlots < static_cast<int64_t>(gather.source_pages.size()));
      const double* const x =
          pages->at(gather.source_pages[slot / kPageSlots], part, head, slot % kPageSlots);
      for (int c = 0; c < dim; ++c) mean[c] = i == 0 ? x[c] : mean[c] + x[c];
    }
    double* const y =
        pages->at(gather.destination_pages[d / kPageSlots], part, head, d % kPageSlots);
    for (int c = 0; c < dim; ++c) y[c] = mean[c] / static_cast<double>(sources.size());
  }

  // Rotate-half: pairs (i, i + n), n = dim / 2.
  static void Rotate(const double* angles, int dim, double* x) {
    const int half = dim / 2;
    for (int i = 0; i < half; ++i) {
      const double c = angles[i], s = angles[half + i], a = x[i], b = x[i + half];
      x[i] = a * c - b * s;
      x[i + half] = b * c + a * s;
    }
  }

  const BackendInfo info_{.name = "ref", .activation_dtype = DType::kF64};
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateRefBackend(const BackendOptions& options) {
  if (options.activation_dtype.value_or(DType::kF32) != DType::kF32) {
    return absl::InvalidArgumentError("backend ref has f64 activations only");
  }
  return std::make_unique<RefBackend>();
}

}  // namespace prefixd
