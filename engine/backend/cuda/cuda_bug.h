// Mistakes of the host code that a test must find. In product builds every PREFIXD_CUDA_BUG is the
// constant false; the tests compile the host code with PREFIXD_CUDA_PLANTED_BUGS and plant one at a
// time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BUG_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BUG_H_

#ifdef PREFIXD_CUDA_PLANTED_BUGS

namespace prefixd::cuda {

enum class CudaBug {
  kNone,
  kReuseBeforeFence,  // A staging block is filled again before its copy was made.
  kStaleTableDelta,   // The last change of a page table is not sent.
  kNoImageWait,       // The main queue does not wait for image features.
  kStaleGrid,         // A recording is played for rows that see more than its grids cover.
};
inline CudaBug planted_cuda_bug = CudaBug::kNone;

}  // namespace prefixd::cuda

#define PREFIXD_CUDA_BUG(name) (::prefixd::cuda::planted_cuda_bug == ::prefixd::cuda::CudaBug::name)

#else

#define PREFIXD_CUDA_BUG(name) false

#endif  // PREFIXD_CUDA_PLANTED_BUGS

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BUG_H_
