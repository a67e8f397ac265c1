// The ops of a step over a token trie beside the plain ops of the same size.
#ifndef PREFIXD_BENCH_TREE_OPS_H_
#define PREFIXD_BENCH_TREE_OPS_H_

#include "engine/backend/backend.h"

namespace prefixd {

// HeadLogprobs beside Linear, and attention of trees of rows beside as many rows of a prefill and
// of decoding on the same context; taken in turn in every repetition. Prints a line for each: CPU
// time of a thread, and of it the multiple of the plain op's (medians).
void BenchTreeOps(Backend* backend, int repetitions);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_TREE_OPS_H_
