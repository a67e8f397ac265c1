// Sequences in paged KV, for tests of WriteKv, PagedAttention and CopyPages.
#ifndef PREFIXD_TESTS_BACKEND_PAGED_KV_H_
#define PREFIXD_TESTS_BACKEND_PAGED_KV_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/backend/op_harness.h"

namespace prefixd {

struct AttentionShape {
  int num_heads = 1;
  int num_kv_heads = 1;
  int head_dim = 1;
  DType kv_dtype = DType::kF32;
  bool rotate = false;  // Needs an even head_dim.
  bool alibi = false;   // Pools keep positions then.

  int64_t qkv_cols() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  int64_t output_cols() const { return int64_t{num_heads} * head_dim; }
  float scale() const;
  std::vector<float> slopes() const;  // [num_heads], for alibi.
};

// A pool in which every slot of every page holds NaN, and a position far from all others.
std::unique_ptr<KvPool> MakePoisonedPool(Backend* backend, const AttentionShape& shape,
                                         int32_t num_pages);

// Rows [begin, begin + count) of a sequence; token t goes to slot t.
struct SequencePiece {
  const HostMatrix* qkv = nullptr;  // The whole sequence: [tokens, qkv_cols].
  std::vector<int32_t> pages;
  int32_t begin = 0;
  int32_t count = 0;
  const Tensor* sums = nullptr;  // As in KvSegment.
  int32_t first_summed_row = 0;
  int32_t visible_prefix = 0;           // As in KvSegment.
  int32_t position_of_first_token = 0;  // For alibi.
};

// The sequence's rows in steps of these numbers of rows, in `pages` of `pool`. Returns them all.
HostMatrix RunSteps(Backend* backend, const AttentionShape& shape, SequencePiece sequence,
                    const std::vector<int32_t>& counts, KvPool* pool);

// One step: writes the K and V of all pieces, then attends. Returns the rows of all pieces in
// order.
HostMatrix RunStep(Backend* backend, const AttentionShape& shape,
                   const std::vector<SequencePiece>& pieces, KvPool* pool);

// A whole sequence in chunks, alone in a poisoned pool whose pages it takes in the order `pages`.
HostMatrix RunSequence(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                       int32_t chunk, const std::vector<int32_t>& pages);

int32_t PagesFor(int64_t num_tokens);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_PAGED_KV_H_
