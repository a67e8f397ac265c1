// What tests of attention kernels compare with: host twins of matrices and of paged K and V, and
// plain double-precision attention over them. Knows nothing of the emulator: a test uploads the
// bytes as it likes. One thread at a time.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_PAGED_REFERENCE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_PAGED_REFERENCE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda_test {

using cuda::Element;

// Element `index` of an array of `type` at `data`, exactly; and its inverse, rounded to nearest.
double ReadElement(Element type, const void* data, int64_t index);
void WriteElement(Element type, void* data, int64_t index, float value);

// A row-major matrix of any element type. All bits NaN at first, the gap between cols and stride
// for good.
class HostMatrix {
 public:
  HostMatrix(Element type, int64_t rows, int64_t cols, int64_t stride);
  HostMatrix(Element type, int64_t rows, int64_t cols) : HostMatrix(type, rows, cols, cols) {}

  // Normal numbers of deviation 1, rounded to the type.
  void FillNormal(std::mt19937_64* generator);
  double at(int64_t row, int64_t col) const;
  void set(int64_t row, int64_t col, float value);

  Element type() const { return type_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t stride() const { return stride_; }
  std::vector<uint8_t>& bytes() { return bytes_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  // The matrix, or `cols` of its columns from `first_col` on, over a copy of the bytes at `data`.
  cuda::DeviceMatrix View(void* data) const { return View(data, 0, cols_); }
  cuda::DeviceMatrix View(void* data, int64_t first_col, int64_t cols) const;

 private:
  Element type_;
  int64_t rows_, cols_, stride_;
  std::vector<uint8_t> bytes_;
};

struct PagedCacheOptions {
  Element type = Element::kBF16;
  int num_kv_heads = 1;
  int head_dim = 64;
  std::vector<int32_t> lengths;  // Filled slots of every sequence; 0 is allowed.
  // The first shared_slots[s] slots (whole pages, within both lengths) of sequence s are the pages
  // of sequence shared_with[s] < s. Empty: nothing is shared.
  std::vector<int32_t> shared_with;
  std::vector<int32_t> shared_slots;
  uint64_t seed = 1;
};

// One layer's pages: scrambled ids, some pages of nobody, normal numbers in the filled slots and
// NaN everywhere else; table entries beyond a sequence's pages name no page at all.
class PagedCache {
 public:
  explicit PagedCache(const PagedCacheOptions& options);

  const PagedCacheOptions& options() const { return options_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  const std::vector<int32_t>& tables() const { return tables_; }  // [sequence][table_stride()]
  int32_t table_stride() const { return table_stride_; }
  int32_t num_pages() const { return num_pages_; }
  int64_t page_elements() const;
  cuda::KvPages View(void* data) const;

  // [page][slot]: of filled slots PositionOf, of others nonsense.
  const std::vector<int32_t>& positions() const { return positions_; }

  // head_dim numbers of K (or V) of one slot, as stored.
  const float* k(int64_t sequence, int64_t slot, int64_t kv_head) const;
  const float* v(int64_t sequence, int64_t slot, int64_t kv_head) const;

 private:
  int64_t Offset(int64_t sequence, int64_t slot, int64_t kv_head) const;
  void AssignPages(std::mt19937_64* generator);
  void FillSlots(std::mt19937_64* generator);

  PagedCacheOptions options_;
  int32_t table_stride_ = 1;
  int32_t num_pages_ = 0;
  std::vector<int32_t> tables_;
  std::vector<float> values_;  // Every element of every page.
  std::vector<uint8_t> bytes_;
  std::vector<int32_t> positions_;
};

// The position of the token in a slot: some are missing.
inline int32_t PositionOf(int32_t slot) { return slot + slot / 5; }
// ALiBi's slopes for tests: none a power of another.
std::vector<float> TestSlopes(int num_heads);

struct AttentionResult {
  std::vector<double> y;    // [rows, num_heads * head_dim]
  std::vector<double> lse;  // [rows, num_heads], log2; -infinity where nothing is visible.
};

// Row r of q (columns [0, num_heads * head_dim)) attends to slots [0, visible[r]) of sequence[r];
// nothing visible gives zeros. With slopes (empty, or one a head) a row has the position of the
// last slot that it sees. With `paths` (empty, or one a row) the last ones of those visible[r]
// slots are the slots that the path names.
using SlotPaths = std::vector<std::vector<int32_t>>;
AttentionResult ReferenceAttention(const HostMatrix& q, const PagedCache& cache, int num_heads,
                                   float scale, const std::vector<int32_t>& sequence,
                                   const std::vector<int32_t>& visible,
                                   const std::vector<float>& slopes = {},
                                   const SlotPaths& paths = {});
// The slot that a row sees as its slot `place`, of `visible` with `path` at their end.
inline int32_t SlotAt(int32_t place, int32_t visible, const std::vector<int32_t>& path) {
  const int32_t context = visible - static_cast<int32_t>(path.size());
  return place < context ? place : path[place - context];
}

// |got - want| / |want| in the Euclidean norm, NaN if any of `got` is.
double RelativeError(const std::vector<double>& want, const HostMatrix& got);
// The largest |got - want|; equal infinities are equal.
double LargestError(const std::vector<double>& want, const std::vector<float>& got);

}  // namespace prefixd::cuda_test

#endif  // PREFIXD_TESTS_CUDA_EMULATION_PAGED_REFERENCE_H_
