#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "engine/backend/ref/ref_backend_impl.h"
#include "engine/backend/ref/ref_memory.h"

namespace prefixd::ref {
namespace {

// angles: [2 n] cosines, then sines. Rotates the pairs (x[i], x[i + n]).
void Rotate(const double* angles, int64_t n, double* x) {
  for (int64_t i = 0; i < n; ++i) {
    const double cos = angles[i], sin = angles[n + i];
    const double a = x[i], b = x[i + n];
    x[i] = a * cos - b * sin;
    x[i + n] = b * cos + a * sin;
  }
}

// y = softmax(scale * q . key(j)) value(j) over j in [0, count); q, y, keys and values: [head_dim].
template <typename KeyOf, typename ValueOf>
void Attend(const double* q, int64_t head_dim, int64_t count, double scale, const KeyOf& key_of,
            const ValueOf& value_of, std::vector<double>* weights, double* y) {
  weights->resize(count);
  double max = -INFINITY;
  for (int64_t j = 0; j < count; ++j) {
    const double* const key = key_of(j);
    double dot = 0;
    for (int64_t i = 0; i < head_dim; ++i) dot += q[i] * key[i];
    (*weights)[j] = scale * dot;
    max = std::max(max, (*weights)[j]);
  }
  double sum = 0;
  for (double& weight : *weights) {
    weight = std::exp(weight - max);
    sum += weight;
  }
  std::fill(y, y + head_dim, 0.0);
  for (int64_t j = 0; j < count; ++j) {
    const double* const value = value_of(j);
    for (int64_t i = 0; i < head_dim; ++i) y[i] += (*weights)[j] / sum * value[i];
  }
}

void CheckSegment(const KvSegment& segment, int64_t num_rows) {
  PREFIXD_CHECK(segment.row_begin >= 0 && segment.num_rows >= 0);
  PREFIXD_CHECK(int64_t{segment.row_begin} + segment.num_rows <= num_rows);
  PREFIXD_CHECK(static_cast<int64_t>(segment.write_slots.size()) == segment.num_rows);
  PREFIXD_CHECK(segment.first_visible >= 1);
}

}  // namespace

absl::Status RefBackend::WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                                 absl::Span<const KvSegment> segments, KvPool* pool) {
  const auto& pages = static_cast<const RefKvPool&>(*pool);
  const int64_t num_kv_heads = pool->shape().num_kv_heads;
  const int64_t head_dim = pool->shape().head_dim;
  PREFIXD_CHECK(qkv.cols == (num_heads + 2 * num_kv_heads) * head_dim);
  if (angles != nullptr) {
    PREFIXD_CHECK(angles->rows == qkv.rows && angles->cols == head_dim && head_dim % 2 == 0);
  }
  for (const KvSegment& segment : segments) {
    CheckSegment(segment, qkv.rows);
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      const int64_t t = segment.row_begin + i;
      double* const q = RowOf(qkv, t);
      double* const k = q + num_heads * head_dim;
      double* const v = k + num_kv_heads * head_dim;
      if (angles != nullptr) {
        // Heads of q and k lie side by side.
        for (int64_t head = 0; head < num_heads + num_kv_heads; ++head) {
          Rotate(RowOf(*angles, t), head_dim / 2, q + head * head_dim);
        }
      }
      const int32_t slot = segment.write_slots[i];
      for (int head = 0; head < num_kv_heads; ++head) {
        std::copy_n(k + head * head_dim, head_dim, pages.Key(segment.pages, slot, head));
        std::copy_n(v + head * head_dim, head_dim, pages.Value(segment.pages, slot, head));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                                        float scale, absl::Span<const KvSegment> segments,
                                        const Tensor& y) {
  const auto& pages = static_cast<const RefKvPool&>(pool);
  const int num_kv_heads = pool.shape().num_kv_heads;
  const int64_t head_dim = pool.shape().head_dim;
  PREFIXD_CHECK(num_heads % num_kv_heads == 0);
  PREFIXD_CHECK(q.rows == y.rows && q.cols >= y.cols && y.cols == num_heads * head_dim);
  std::vector<double> weights;
  for (const KvSegment& segment : segments) {
    CheckSegment(segment, q.rows);
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      const int64_t t = segment.row_begin + i;
      for (int head = 0; head < num_heads; ++head) {
        const int kv_head = head / (num_heads / num_kv_heads);
        const auto key_of = [&](int64_t slot) {
          return pages.Key(segment.pages, static_cast<int32_t>(slot), kv_head);
        };
        const auto value_of = [&](int64_t slot) {
          return pages.Value(segment.pages, static_cast<int32_t>(slot), kv_head);
        };
        Attend(RowOf(q, t) + head * head_dim, head_dim, int64_t{segment.first_visible} + i, scale,
               key_of, value_of, &weights, RowOf(y, t) + head * head_dim);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::VisionAttention(const Tensor& qkv, int num_heads, float scale,
                                         const Tensor& y) {
  PREFIXD_CHECK(num_heads >= 1 && y.cols % num_heads == 0);
  PREFIXD_CHECK(qkv.rows == y.rows && qkv.cols == 3 * y.cols);
  const int64_t head_dim = y.cols / num_heads;
  std::vector<double> weights;
  for (int64_t t = 0; t < qkv.rows; ++t) {
    for (int64_t head = 0; head < num_heads; ++head) {
      const int64_t column = head * head_dim;
      const auto key_of = [&](int64_t row) { return RowOf(qkv, row) + y.cols + column; };
      const auto value_of = [&](int64_t row) { return RowOf(qkv, row) + 2 * y.cols + column; };
      Attend(RowOf(qkv, t) + column, head_dim, qkv.rows, scale, key_of, value_of, &weights,
             RowOf(y, t) + column);
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) {
  for (const PageCopy& copy : copies) {
    static_cast<RefKvPool*>(pool)->CopyPage(copy.source, copy.destination);
  }
  return absl::OkStatus();
}

}  // namespace prefixd::ref
