// Pages of K and V of the kernel tests. Elements that no test has set are guards (see
// test_matrix.h).
#ifndef PREFIXD_TESTS_CUDA_EMULATION_TEST_PAGES_H_
#define PREFIXD_TESTS_CUDA_EMULATION_TEST_PAGES_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/types.h"
#include "tests/cuda_emulation/test_matrix.h"

namespace prefixd::cuda {

struct PageShape {
  Element type = Element::kBF16;
  int32_t num_pages = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 64;
};

enum Part { kKey = 0, kValue = 1 };

class TestPages {
 public:
  // With Placement::kColumn5 the first page begins at element 5.
  TestPages(const PageShape& shape, Placement placement)
      : shape_(shape),
        begin_(kMargin + (placement == Placement::kColumn5 ? 5 : 0)),
        elements_(shape.type, 2 * kMargin + shape.num_pages * PageElements()) {}

  const PageShape& shape() const { return shape_; }
  int64_t PageElements() const { return int64_t{2} * shape_.num_kv_heads * 16 * shape_.head_dim; }
  KvPages view() {
    return {elements_.data() + begin_ * ElementSize(shape_.type), shape_.type, shape_.num_pages,
            shape_.num_kv_heads, shape_.head_dim};
  }

  // Element `c` of a slot, spelled out loop by loop: [page][K or V][kv head][slot][head_dim].
  int64_t Index(int64_t slot, int part, int64_t head, int64_t c) const {
    int64_t index = slot / 16;
    index = index * 2 + part;
    index = index * shape_.num_kv_heads + head;
    index = index * 16 + slot % 16;
    return begin_ + index * shape_.head_dim + c;
  }
  double Get(int64_t slot, int part, int64_t head, int64_t c) const {
    return elements_.Get(Index(slot, part, head, c));
  }
  TestElements& elements() { return elements_; }

  // Uniform numbers of [-1, 1] in slots [begin, end).
  void Fill(std::mt19937* random, int64_t begin, int64_t end) {
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (int64_t slot = begin; slot < end; ++slot) {
      for (const int part : {kKey, kValue}) {
        for (int64_t head = 0; head < shape_.num_kv_heads; ++head) {
          for (int64_t c = 0; c < shape_.head_dim; ++c) {
            elements_.Set(Index(slot, part, head, c), uniform(*random));
          }
        }
      }
    }
    elements_.Upload();
  }

 private:
  static constexpr int64_t kMargin = 64;

  const PageShape shape_;
  const int64_t begin_;
  TestElements elements_;
};

// Empty, or the first element that differs from `expected`.
inline std::string Difference(const std::vector<uint32_t>& expected, TestElements* actual) {
  actual->Download();
  for (int64_t i = 0; i < actual->size(); ++i) {
    if (actual->Bits(i) != expected[static_cast<size_t>(i)]) return "element " + std::to_string(i);
  }
  return "";
}

inline std::vector<uint32_t> AllBits(TestPages* pages) {
  std::vector<uint32_t> bits;
  for (int64_t i = 0; i < pages->elements().size(); ++i) bits.push_back(pages->elements().Bits(i));
  return bits;
}

// bits of slot `to` = bits of slot `from` in `source`.
inline void CopySlot(const TestPages& pages, const std::vector<uint32_t>& source, int64_t from,
                     int64_t to, std::vector<uint32_t>* bits) {
  for (const int part : {kKey, kValue}) {
    for (int64_t head = 0; head < pages.shape().num_kv_heads; ++head) {
      for (int64_t c = 0; c < pages.shape().head_dim; ++c) {
        (*bits)[pages.Index(to, part, head, c)] = source[pages.Index(from, part, head, c)];
      }
    }
  }
}

inline const std::vector<PageShape> kPageShapes = {
    {Element::kF32, 7, 2, 64}, {Element::kF16, 7, 3, 17},  {Element::kBF16, 7, 1, 1},
    {Element::kF32, 7, 1, 5},  {Element::kBF16, 7, 5, 80}, {Element::kF16, 7, 2, 8}};

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_TEST_PAGES_H_
