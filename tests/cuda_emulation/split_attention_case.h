// One case of split attention: pages, queries and the reference result, and runs of a kernel over
// any choice of its rows.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SPLIT_ATTENTION_CASE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SPLIT_ATTENTION_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/split_attention.h"
#include "tests/cuda_emulation/paged_reference.h"

namespace prefixd::cuda_test {

struct SplitShape {
  Element activation = Element::kBF16;
  Element kv = Element::kBF16;
  int head_dim = 64;
  int num_kv_heads = 1;
  int group_heads = 1;
  // Of the sequences; row i of the case belongs to sequence i and sees all of it, unless `sequence`
  // and `visible` say otherwise.
  std::vector<int32_t> lengths;
  std::vector<int32_t> sequence, visible;
  // Of trees: the last slots that row i sees are these; the last of them is its own.
  SlotPaths paths;
  int32_t shared_slots = 0;  // That all sequences have in common.
  float query_factor = 1;
  bool alibi = false;
  uint64_t seed = 1;
};
std::string Describe(const SplitShape& shape);

// Positions in the list of rows that run, ascending, which share `shared` slots.
struct RowGroup {
  std::vector<int32_t> positions;
  int32_t shared = 0;
};

struct SplitRun {
  cuda::SplitKernel kernel = cuda::SplitKernel::kAuto;
  std::vector<int32_t> rows;  // Of the case; kPadding: nothing to see. Empty: all.
  std::vector<RowGroup> groups;
  int32_t max_visible = 0;   // 0: the largest of the rows.
  int64_t first_column = 8;  // Of the queries, in a wider matrix.
  int64_t page_shift = 0;    // Elements before the first page.
  int64_t first_page = 0;    // Pages before it: a sparse pool.
};
inline constexpr int32_t kPadding = -1;

struct SplitOutput {
  cudaError_t error = cudaSuccess;
  HostMatrix y;
  std::vector<float> lse;
};

class SplitCase {
 public:
  explicit SplitCase(const SplitShape& shape);

  SplitOutput Run(const SplitRun& run) const;
  // Compares with the reference within the bars: y 5e-3 relative (1e-5 in float32), lse 1e-4.
  void ExpectClose(const SplitRun& run, const SplitOutput& output) const;
  // Run, then ExpectClose.
  void Check(const SplitRun& run) const;
  double Error(const SplitRun& run, const SplitOutput& output) const;

 private:
  std::vector<int32_t> Rows(const SplitRun& run) const;
  AttentionResult Reference(const SplitRun& run) const;

  SplitShape shape_;
  int num_heads_;
  float scale_;
  PagedCache cache_;
  HostMatrix q_;
  std::vector<float> slopes_;  // Empty without ALiBi.
  AttentionResult reference_;
};

// Whether row `a_row` of one output has the bits of row `b_row` of the other.
bool SameRow(const SplitOutput& a, int64_t a_row, const SplitOutput& b, int64_t b_row);

}  // namespace prefixd::cuda_test

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SPLIT_ATTENTION_CASE_H_
