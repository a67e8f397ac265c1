// Mistakes that the tests of the kernels must find. A place of a kernel that could go wrong asks
// PREFIXD_KERNEL_BUG(kName): on a device that is the constant `false`; the emulation of
// tests/cuda_emulation compiles it as a question, and at most one bug is on at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNEL_BUG_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNEL_BUG_H_

namespace prefixd::cuda {

enum class KernelBug {
  kNone,
  kDrawScanWithoutBarrier,  // The first warp adds up what others have not written.
  kDrawTailNotMasked,       // What lies beyond the vocabulary is drawn from.
  kDrawTopKDropsTies,       // Of scores equal to the k-th largest only some stay.
  kDrawChoiceForgotten,     // Every choice draws the numbers of the first one.
  kDrawMass32Bits,          // Masses do not fit their type.
  kDrawSuppressed,          // Suppressed tokens are drawn.
  kHeadForgetsTiles,        // Of a row's sum only the last tile's part is left.

  // Rows and slots.
  kReductionWithoutBarrier,   // Between the two levels of a sum over a block.
  kTailNotMasked,             // Columns beyond the last packet's end.
  kRotatesNeighbours,         // Pairs (2 i, 2 i + 1) in place of (i, i + n).
  kWritesPadding,             // A slot below 0 is written to slot 0.
  kSlotOffset32,              // Offsets into pages have 32 bits.
  kGatherNextPage,            // One page further than asked for.
  kMeanOfOneMore,             // Divided by one more than were added.
  kStaleDelta,                // At the index of the delta before.
  kSplitReadsBeforeBarrier,   // No barrier between what other threads write and its reading.
  kSplitReusesBeforeBarrier,  // No barrier between that reading and the next writing.
  kSplitMissingCopyWait,      // No wait for asynchronous copies.
  kSplitPageOffByOne,
  kSplitPageOffset32,     // Element offsets of pages in 32 bits.
  kSplitUnmaskedTail,     // Slots up to the end of the last page count.
  kSplitWrongVisibility,  // A row sees what another one sees.
  kSplitSharedMemorySmall,
  kSplitSkipsMember,  // The last row of a group is forgotten.
  kSplitWrongPath,    // A row of a tree sees the path of the row before.
  kAlibiWrongSign,    // Slots further away get more.
  // Tile and vision attention.
  kTileEarlyPrefetch,    // The next tile overwrites a stage that other warps still read.
  kTileNoBarrier,        // Copies are waited for, those of other threads are not.
  kTileNoWait,           // Copies are not waited for.
  kTileMaskOffByOne,     // A row sees the slot behind its last.
  kTilePaddingUnmasked,  // Columns behind head_dim are what lies there in memory.
  // Column sums.
  kColumnSumsNoBarrier,
  kFoldReadsTailRow,  // One row more than there is.
  kFoldSkipsRow,      // The last one.
};

#ifdef PREFIXD_CUDA_EMULATION
// Changed between launches only.
inline KernelBug planted_kernel_bug = KernelBug::kNone;

#define PREFIXD_KERNEL_BUG(name) \
  (::prefixd::cuda::planted_kernel_bug == ::prefixd::cuda::KernelBug::name)
#else
#define PREFIXD_KERNEL_BUG(name) false
#endif

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNEL_BUG_H_
