#include "tests/cuda_emulation/paged_reference.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/tensor/half.h"

namespace prefixd::cuda_test {
namespace {

constexpr int32_t kNoPage = -1000000;
constexpr int kSparePages = 3;

int32_t PagesOf(int32_t slots) { return (slots + cuda::kSlots - 1) / cuda::kSlots; }

void Require(bool condition) {
  if (!condition) std::abort();  // A test that asks for nonsense.
}

}  // namespace

double ReadElement(Element type, const void* data, int64_t index) {
  const char* at = static_cast<const char*>(data) + index * cuda::ElementSize(type);
  if (type == Element::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return type == Element::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
}

void WriteElement(Element type, void* data, int64_t index, float value) {
  char* at = static_cast<char*>(data) + index * cuda::ElementSize(type);
  if (type == Element::kF32) {
    std::memcpy(at, &value, sizeof(value));
    return;
  }
  const uint16_t bits = type == Element::kBF16 ? FloatToBF16(value) : FloatToF16(value);
  std::memcpy(at, &bits, sizeof(bits));
}

HostMatrix::HostMatrix(Element type, int64_t rows, int64_t cols, int64_t stride)
    : type_(type), rows_(rows), cols_(cols), stride_(stride) {
  Require(rows >= 0 && cols >= 0 && stride >= cols);
  bytes_.assign(rows * stride * cuda::ElementSize(type), 0xFF);
}

void HostMatrix::FillNormal(std::mt19937_64* generator) {
  std::normal_distribution<float> normal;
  for (int64_t row = 0; row < rows_; ++row) {
    for (int64_t col = 0; col < cols_; ++col) set(row, col, normal(*generator));
  }
}

double HostMatrix::at(int64_t row, int64_t col) const {
  return ReadElement(type_, bytes_.data(), row * stride_ + col);
}

void HostMatrix::set(int64_t row, int64_t col, float value) {
  WriteElement(type_, bytes_.data(), row * stride_ + col, value);
}

cuda::DeviceMatrix HostMatrix::View(void* data, int64_t first_col, int64_t cols) const {
  return {static_cast<char*>(data) + first_col * cuda::ElementSize(type_), type_, rows_, cols,
          stride_};
}

PagedCache::PagedCache(const PagedCacheOptions& options) : options_(options) {
  const size_t sequences = options_.lengths.size();
  if (options_.shared_with.empty()) {
    options_.shared_with.assign(sequences, 0);
    options_.shared_slots.assign(sequences, 0);
  }
  Require(options_.shared_with.size() == sequences && options_.shared_slots.size() == sequences);
  std::mt19937_64 generator(options_.seed);
  AssignPages(&generator);
  FillSlots(&generator);
}

void PagedCache::AssignPages(std::mt19937_64* generator) {
  int32_t used = 0;
  for (size_t s = 0; s < options_.lengths.size(); ++s) {
    table_stride_ = std::max(table_stride_, PagesOf(options_.lengths[s]));
    used += PagesOf(options_.lengths[s]);
  }
  num_pages_ = used + kSparePages;
  std::vector<int32_t> ids(num_pages_);
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), *generator);
  tables_.assign(options_.lengths.size() * table_stride_, kNoPage);
  for (size_t s = 0; s < options_.lengths.size(); ++s) {
    const int32_t shared = options_.shared_slots[s];
    const int32_t with = options_.shared_with[s];
    Require(shared == 0 || (with < static_cast<int32_t>(s) && shared % cuda::kSlots == 0 &&
                            shared <= options_.lengths[s] && shared <= options_.lengths[with]));
    for (int32_t p = 0; p < PagesOf(options_.lengths[s]); ++p) {
      int32_t& entry = tables_[s * table_stride_ + p];
      if (p < shared / cuda::kSlots) {
        entry = tables_[with * table_stride_ + p];
      } else {
        entry = ids.back();
        ids.pop_back();
      }
    }
  }
}

void PagedCache::FillSlots(std::mt19937_64* generator) {
  const int64_t elements = num_pages_ * page_elements();
  positions_.assign(static_cast<size_t>(num_pages_) * cuda::kSlots, 1 << 29);
  values_.assign(elements, std::numeric_limits<float>::quiet_NaN());
  bytes_.assign(elements * cuda::ElementSize(options_.type), 0xFF);
  std::normal_distribution<float> normal;
  const int64_t value_offset = View(nullptr).value_offset();
  for (size_t s = 0; s < options_.lengths.size(); ++s) {
    for (int32_t slot = options_.shared_slots[s]; slot < options_.lengths[s]; ++slot) {
      const int64_t page = tables_[s * table_stride_ + slot / cuda::kSlots];
      positions_[page * cuda::kSlots + slot % cuda::kSlots] = PositionOf(slot);
      for (int head = 0; head < options_.num_kv_heads; ++head) {
        const int64_t at = Offset(s, slot, head);
        for (int d = 0; d < options_.head_dim; ++d) {
          for (const int64_t i : {at + d, at + value_offset + d}) {
            WriteElement(options_.type, bytes_.data(), i, normal(*generator));
            values_[i] = static_cast<float>(ReadElement(options_.type, bytes_.data(), i));
          }
        }
      }
    }
  }
}

int64_t PagedCache::page_elements() const { return View(nullptr).page_elements(); }

cuda::KvPages PagedCache::View(void* data) const {
  cuda::KvPages pages;
  pages.data = data;
  pages.type = options_.type;
  pages.num_pages = num_pages_;
  pages.num_kv_heads = options_.num_kv_heads;
  pages.head_dim = options_.head_dim;
  return pages;
}

int64_t PagedCache::Offset(int64_t sequence, int64_t slot, int64_t kv_head) const {
  const int64_t page = tables_[sequence * table_stride_ + slot / cuda::kSlots];
  return page * page_elements() +
         (kv_head * cuda::kSlots + slot % cuda::kSlots) * options_.head_dim;
}

const float* PagedCache::k(int64_t sequence, int64_t slot, int64_t kv_head) const {
  return values_.data() + Offset(sequence, slot, kv_head);
}

const float* PagedCache::v(int64_t sequence, int64_t slot, int64_t kv_head) const {
  return k(sequence, slot, kv_head) + View(nullptr).value_offset();
}

std::vector<float> TestSlopes(int num_heads) {
  std::vector<float> slopes;
  for (int head = 0; head < num_heads; ++head) {
    slopes.push_back(0.3f / static_cast<float>(1 + 7 * head));
  }
  return slopes;
}

AttentionResult ReferenceAttention(const HostMatrix& q, const PagedCache& cache, int num_heads,
                                   float scale, const std::vector<int32_t>& sequence,
                                   const std::vector<int32_t>& visible,
                                   const std::vector<float>& slopes, const SlotPaths& paths) {
  const int head_dim = cache.options().head_dim;
  const int group = num_heads / cache.options().num_kv_heads;
  AttentionResult result;
  result.y.assign(q.rows() * num_heads * head_dim, 0.0);
  result.lse.assign(q.rows() * num_heads, -std::numeric_limits<double>::infinity());
  std::vector<double> query(head_dim), weights;
  for (int64_t row = 0; row < q.rows(); ++row) {
    if (visible[row] == 0) continue;
    std::vector<int32_t> slots(visible[row]);
    for (int32_t i = 0; i < visible[row]; ++i) {
      slots[i] = paths.empty() ? i : SlotAt(i, visible[row], paths[row]);
    }
    for (int head = 0; head < num_heads; ++head) {
      for (int d = 0; d < head_dim; ++d) query[d] = q.at(row, int64_t{head} * head_dim + d);
      weights.assign(visible[row], 0.0);
      for (int32_t slot = 0; slot < visible[row]; ++slot) {
        const float* key = cache.k(sequence[row], slots[slot], head / group);
        for (int d = 0; d < head_dim; ++d) weights[slot] += query[d] * key[d];
        weights[slot] *= scale;
        if (slopes.empty()) continue;
        weights[slot] +=
            double{slopes[head]} * (PositionOf(slots[slot]) - PositionOf(slots.back()));
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      double* y = result.y.data() + (row * num_heads + head) * head_dim;
      for (int32_t slot = 0; slot < visible[row]; ++slot) {
        const float* value = cache.v(sequence[row], slots[slot], head / group);
        for (int d = 0; d < head_dim; ++d) y[d] += weights[slot] / sum * value[d];
      }
      result.lse[row * num_heads + head] = (largest + std::log(sum)) / std::log(2.0);
    }
  }
  return result;
}

double RelativeError(const std::vector<double>& want, const HostMatrix& got) {
  Require(want.size() == static_cast<size_t>(got.rows() * got.cols()));
  double error = 0, norm = 0;
  for (int64_t row = 0; row < got.rows(); ++row) {
    for (int64_t col = 0; col < got.cols(); ++col) {
      const double reference = want[row * got.cols() + col];
      const double difference = got.at(row, col) - reference;
      error += difference * difference;
      norm += reference * reference;
    }
  }
  if (norm == 0) return error == 0 ? 0 : std::numeric_limits<double>::infinity();
  return std::sqrt(error / norm);
}

double LargestError(const std::vector<double>& want, const std::vector<float>& got) {
  Require(want.size() == got.size());
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == got[i]) continue;
    const double error = std::abs(got[i] - want[i]);
    if (!(error <= largest)) largest = error;  // Keeps a NaN.
    if (std::isnan(largest)) return largest;
  }
  return largest;
}

}  // namespace prefixd::cuda_test
