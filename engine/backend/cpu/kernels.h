// The kernels of one CPU level, as a table of functions on raw memory. kernels_*.cc each compile
// the same templates (*.inc) for one instruction set, with flags of their own; nothing in those
// objects may have external linkage but the function that returns the table, or the linker could
// pick an AVX version of a shared inline function for the whole program. Hence no library types
// here.
//
// All kernels: single-threaded, no allocation, pointers need no alignment unless said otherwise,
// strides are in elements. Each output row depends on its own inputs only (docs/decisions.md, 1-3).
#ifndef PREFIXD_ENGINE_BACKEND_CPU_KERNELS_H_
#define PREFIXD_ENGINE_BACKEND_CPU_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace prefixd::cpu {

// Columns of a weight panel (outputs), slots of a KV page, slots of a softmax block.
inline constexpr int kPanelColumns = 64;
inline constexpr int kPageRows = 16;
inline constexpr int kWidenedDepth = 128;  // Values of k that are widened at a time; many of 32.
inline constexpr int kBlockSlots = 256;
inline constexpr int kBlockPages = kBlockSlots / kPageRows;

// In blocks (kQ8_0 and further): weights only.
enum class ElementType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

// In the order of prefixd::Activation.
enum class KernelActivation : uint8_t { kNone, kRelu, kSilu, kQuickGelu, kGelu, kGeluTanh };

// Rows of a matrix product against one weight panel:
// y[m, n] (+)= activation(sum_k x[m, k] * panel[k, n] + bias[n]), m < rows, n < cols.
// The sum runs over k in ascending order in one accumulator per element.
struct PanelProduct {
  const float* x = nullptr;  // [rows, depth].
  ptrdiff_t x_stride = 0;
  int64_t rows = 0;
  int64_t depth = 0;
  // 64-byte aligned. kF32, kF16: [depth][64]. kBF16: [ceil(depth / 2)][64][2]. In blocks: see
  // block_layout.h.
  const std::byte* panel = nullptr;
  ElementType type = ElementType::kF32;
  const float* bias = nullptr;  // [cols] or null.
  KernelActivation activation = KernelActivation::kNone;
  bool accumulate = false;
  float* y = nullptr;
  ptrdiff_t y_stride = 0;
  int cols = kPanelColumns;       // 1..64.
  float* accumulators = nullptr;  // Scratch [rows][64], 64-byte aligned.
  float* widened = nullptr;       // In blocks: scratch [kWidenedDepth][64], 64-byte aligned.
};

// One block of at most 256 slots for `rows` query vectors against one kv head. Row r: s = scale *
// q[r] . K over slots [0, visible[r]); max[r] = max(s), p = exp(s - max[r]), sum[r] = sum(p),
// acc[r, :] = p . V over slots in ascending order. In three steps, so that rows which share some
// pages of the block only can pass over those together: scores and values take a range of rows and
// pages, softmax comes between them. How the ranges are cut does not show in the results.
struct AttentionBlock {
  const float* q = nullptr;  // [rows, head_dim], head_dim rounded up to even with zeros.
  ptrdiff_t q_stride = 0;
  int rows = 0;
  int head_dim = 0;
  // [rows], at most 256. Scores and values: at least 1, and ascending as far as the page range
  // goes. Softmax leaves rows with 0 or less alone.
  const int32_t* visible = nullptr;
  float scale = 0;
  // For attention_bias. [rows] each, and per page the positions of its 16 slots.
  const float* slopes = nullptr;
  const float* row_positions = nullptr;
  const float* const* slot_positions = nullptr;
  ElementType type = ElementType::kF32;  // kF32 or kBF16, of K and V.
  // Per page of 16 slots. K: kF32 [head_dim][16], kBF16 [ceil(head_dim / 2)][16][2].
  // V: [16][value_stride]. 64-byte aligned.
  const std::byte* const* k_pages = nullptr;
  const std::byte* const* v_pages = nullptr;
  int page_begin = 0;  // Pages [page_begin, page_end) of the block; each row's in ascending order,
  int page_end = 0;    // from 0 on.
  int value_stride = 0;     // head_dim rounded up to a multiple of 16.
  float* scores = nullptr;  // Scratch [rows][256], 64-byte aligned.
  float* acc = nullptr;     // [rows, value_stride], 64-byte aligned.
  float* max = nullptr;     // [rows].
  float* sum = nullptr;     // [rows].
};

// From scores to attention sums, for `rows` rows and at most 256 slots of one kv head: over the
// vectors j < group of row i in ascending order, p[i, s] += exp(scale * score - max) * factor for
// slots s < visible. The exponentials are bit for bit those of the softmax.
struct AttentionHeads {
  const float* scores = nullptr;  // [rows * group][256]; vector i * group + j.
  int rows = 0;
  int group = 0;
  const int32_t* visible = nullptr;  // [rows * group], at least 1; vectors of a row see the same.
  float scale = 0;
  const float* max = nullptr;     // [rows * group], over all that the vector sees.
  const float* factor = nullptr;  // [rows * group]: 1 / the sum of its exponentials.
  bool first = false;             // Begins with p = 0.
  int slots = 0;       // Multiple of 16. `first` also writes 0 to p[i, visible .. slots).
  float* p = nullptr;  // [rows][p_stride].
  ptrdiff_t p_stride = 0;
};

struct Kernels {
  void (*panel_product)(const PanelProduct& product);

  // bf16 activations; both null if the level has no such instructions. pack_pairs rounds n floats
  // to bf16 and stores ceil(n / 2) pairs of 32 bits. pair_product is panel_product with an
  // "element" of x being such a pair, depth counting pairs, and type kBF16.
  void (*pack_pairs)(const float* x, int64_t n, float* pairs);
  void (*pair_product)(const PanelProduct& product);

  void (*attention_scores)(const AttentionBlock& block);
  // scores[r, s] := scale * scores[r, s] + slopes[r] * (slot position of s - row_positions[r]), the
  // scaled score rounded first; for the page range, in place. Softmax takes these with scale 1.
  void (*attention_bias)(const AttentionBlock& block);
  void (*attention_softmax)(const AttentionBlock& block);
  void (*attention_values)(const AttentionBlock& block);
  // (max, sum, acc[n]) := merge of itself and a later block. n is a multiple of 16.
  void (*merge_block)(const float* block_max, const float* block_sum, const float* block_acc, int n,
                      float* max, float* sum, float* acc);
  void (*attention_heads)(const AttentionHeads& heads);
  // sums[s] += p[i, s] * factor, rows i ascending, slots s < n. n is a multiple of 16.
  void (*attention_fold)(const float* p, ptrdiff_t p_stride, int rows, int n, float factor,
                         float* sums);

  // *max = the largest of n >= 1 values and *sum = the sum of exp(value - *max), NaN if one is NaN
  // or infinity. Sums of 256 values each are taken first. x is readable up to the next multiple of
  // 16.
  void (*exp_sum)(const float* x, int64_t n, float* max, float* sum);

  // y may be x. The weights are offset + weight.
  void (*rms_norm)(const float* x, const float* weight, float offset, float eps, int64_t n,
                   float* y);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                     float* y);
  // y = activation(gate) * up.
  void (*gated_activation)(const float* gate, const float* up, KernelActivation activation,
                           int64_t n, float* y);
  // y += x.
  void (*add)(const float* x, int64_t n, float* y);
  // Rotates halves in place: (a, b) := (a cos - b sin, b cos + a sin), x: [2 n], cos, sin: [n].
  void (*rotate)(const float* cos, const float* sin, int64_t n, float* x);

  // Sums the bytes' words; a loop that only reads memory, for benchmarks.
  uint64_t (*read_probe)(const std::byte* bytes, size_t size_bytes);
  // Runs `iterations` rounds of independent fused multiply-adds; returns how many multiply-adds.
  uint64_t (*fma_probe)(int64_t iterations);
};

const Kernels& PortableKernels();
#if defined(__x86_64__)
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
const Kernels& Avx512Bf16Kernels();
#endif

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_KERNELS_H_
