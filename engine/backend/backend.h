// The only door between models and machines: memory and about twenty coarse ops on an in-order
// queue. Ops check their shapes and return an error of the machine (out of memory, a lost device);
// a wrong shape is a bug of the caller and fails a check.
//
// Exactness (docs/decisions.md, rules 1-4): what an op writes to a row depends on that row's inputs
// alone, bit for bit: not on the other rows of the call, on the number of threads, or on how rows
// are cut into calls. Sums over K run in ascending order in one accumulator per output element.
// Attention keeps one softmax state per block of 256 slots counted from slot 0 and merges the
// blocks in ascending order.
//
// A CUDA backend keeps to it within rounding; in its deterministic mode, bit for bit.
//
// Threads: one caller at a time (the engine thread after start-up). A call may return before its
// work is done; what it was given in host memory is its own copy by then, tensors must live on
// until later calls. Synchronize, Download and TakeDraws wait.
//
// Errors: RESOURCE_EXHAUSTED when memory lacks (later calls are not affected); UNAVAILABLE when the
// device is lost, and for every call afterwards.
#ifndef PREFIXD_ENGINE_BACKEND_BACKEND_H_
#define PREFIXD_ENGINE_BACKEND_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/token_draw.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

// The number of slots (tokens) in a page, on every backend.
inline constexpr int kPageSlots = 16;

struct BackendInfo {
  std::string name;   // "ref", "cpu", "cuda".
  std::string level;  // CPU: "portable", "avx2", "avx512", "avx512bf16". Else empty.
  int num_threads = 1;
  DType activation_dtype = DType::kF32;
  DType default_kv_dtype = DType::kF32;
  // Steps that may be queued before the first of them is waited for: 1, or 2 on a device that works
  // beside the host (docs/decisions.md, rule 22).
  int in_flight = 1;
  std::string device;  // "NVIDIA H100 80GB HBM3, compute capability 9.0". Empty: none but the CPU.
};

// A weight matrix [rows = outputs, cols = inputs] in the backend's own layout.
class Matrix {
 public:
  virtual ~Matrix() = default;
  DType dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

 protected:
  Matrix(DType dtype, int64_t rows, int64_t cols) : dtype_(dtype), rows_(rows), cols_(cols) {}

 private:
  const DType dtype_;
  const int64_t rows_, cols_;
};

// All pages of K and V: `num_pages` pages, each `kPageSlots` slots of K and V for every kv head of
// one layer. The layout inside a page is the backend's. Page ids are [0, num_pages).
struct KvPoolShape {
  int32_t num_pages = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  // kF32, kBF16; on CUDA also kF16. The reference backend stores kF64 whatever is asked for.
  DType dtype = DType::kF32;
  // Beside K and V a slot keeps the position of its token: for AttentionOptions::alibi_slopes.
  // Positions are below 2^24 then.
  bool keeps_positions = false;
};
class KvPool {
 public:
  virtual ~KvPool() = default;
  const KvPoolShape& shape() const { return shape_; }

 protected:
  explicit KvPool(const KvPoolShape& shape) : shape_(shape) {}

 private:
  const KvPoolShape shape_;
};

enum class Activation : uint8_t {
  kNone,
  kRelu,
  kSilu,       // x * sigmoid(x).
  kQuickGelu,  // x * sigmoid(1.702 x).
  kGelu,       // 0.5 x (1 + erf(x / sqrt(2))).
  kGeluTanh,   // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
};

// The rows of one sequence in one layer of a step. Row i of the segment (batch row row_begin + i)
// is written to slot write_slots[i] and attends to slots [0, first_visible + i), and also to [0,
// visible_prefix): the tokens of a prefix-LM's prefix see each other, the later ones too. Those
// slots are written before the attention of this segment, by this pass or an earlier one.
//
// Attention sums (the importance of PrefixKV): with `sums` set, every row i >= first_summed_row
// also adds, for each slot s that it sees, the mean over the heads of the probability with which it
// attends to s, to sums[0, s]. Sums of two segments of a call must not overlap.
struct KvSegment {
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  absl::Span<const int32_t> pages;        // Slot s lies in page pages[s / kPageSlots].
  absl::Span<const int32_t> write_slots;  // [num_rows], distinct.
  int32_t first_visible = 0;              // >= 1: a row sees at least itself.
  int32_t visible_prefix = 0;             // Slots that every row sees; 0: a causal model.
  int32_t first_position = 0;             // Row i has position first_position + i.
  const Tensor* sums = nullptr;           // [1, >= visible slots] of NewScores; null: none.
  int32_t first_summed_row = 0;           // Within the segment.

  // A tree of rows behind a common context: the nodes of a token trie. Every row sees slots [0,
  // first_visible), and row i also path_slots[path_begins[i]] .. path_slots[path_begins[i + 1] -
  // 1]: the slots of its ancestors, outermost first, and last its own, write_slots[i]. All of them
  // lie in `pages`, behind the context, and were written before the attention of this segment. Row
  // i gets the bits of a row of a sequence whose slots first_visible, first_visible + 1, ... those
  // of its path were: blocks of the softmax count them so. Its position is first_position + (length
  // of its path) - 1. Neither visible_prefix nor sums go with it.
  absl::Span<const int32_t> path_begins;  // [num_rows + 1], ascending; empty: no tree.
  absl::Span<const int32_t> path_slots;

  bool is_tree() const { return !path_begins.empty(); }
  int32_t path_length(int32_t row) const { return path_begins[row + 1] - path_begins[row]; }
  int32_t position(int32_t row) const {
    return first_position + (is_tree() ? path_length(row) - 1 : row);
  }
};

// Rows of a batch that attend to keys and values outside the pages: the latents of one image.
struct CrossSegment {
  int32_t row_begin = 0;  // Ascending from segment to segment; no row is in two.
  int32_t num_rows = 0;
  Tensor kv;  // [keys >= 1, 2 * H * head_dim]: K, then V. Columns of a wider matrix are fine.
};

struct PageCopy {
  int32_t source = 0;
  int32_t destination = 0;
};

// Slots of one (sequence, layer) on their way into other pages: slot d of `destination_pages` is
// slot sources[d] of `source_pages`. With `first_source` set, it is the mean (summed in the order
// given, then multiplied by 1 / count) of slots sources[i], first_source[d] <= i <
// first_source[d + 1], instead; at least one.
struct SlotGather {
  absl::Span<const int32_t> source_pages;
  absl::Span<const int32_t> sources;
  absl::Span<const int32_t> destination_pages;  // None of them is a source page of the call.
  absl::Span<const int32_t> first_source;       // Empty, or [number of destinations + 1].
};

// A step as far as a backend can prepare for it: everything its forward pass will be given in host
// memory, told before the first op of the pass. The spans that the ops get are these very spans.
struct ForwardInputs {
  absl::Span<const int32_t> token_ids;  // [T], as for Embed.
  absl::Span<const int32_t> positions;  // [T].
  absl::Span<const absl::Span<const KvSegment>> layers;
  const KvPool* pool = nullptr;
  // Every segment has one row, none has sums, and no row takes image features: the pass is the same
  // for every step of T rows but for these inputs.
  bool decodes_only = false;
};

class Backend {
 public:
  // Work of an image tower runs beside that of the decoder where a backend can.
  enum class Queue { kMain, kImage };

  virtual ~Backend() = default;

  virtual const BackendInfo& info() const = 0;

  // Bytes of the device's own memory that are free for weights and pages when it is asked; 0: it
  // has none but the host's.
  virtual uint64_t AvailableMemory() const { return 0; }

  // --- Memory
  // -------------------------------------------------------------------------------------

  // Zeroed memory aligned to 64 bytes. Errors: RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<Buffer> Allocate(size_t size_bytes) = 0;

  // A zeroed dense [rows, cols] matrix of the activation dtype; rows start at multiples of 64
  // bytes.
  absl::StatusOr<OwnedTensor> NewTensor(int64_t rows, int64_t cols);

  // A zeroed [layers, slots] matrix for attention sums, float32 on every backend but `ref`
  // (float64). Upload and Download take it; rows start at multiples of 64 bytes.
  virtual absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) {
    return NewTensor(layers, slots);
  }

  // A zeroed matrix for RotaryAngles, float32 on every backend but `ref` (float64).
  virtual absl::StatusOr<OwnedTensor> NewAngles(int64_t rows, int64_t head_dim) {
    return NewTensor(rows, head_dim);
  }

  // A weight matrix; its rows are undefined until written. Of a type that is stored in blocks
  // (tensor/dtype.h) cols is a multiple of the block; `cpu` and `ref` compute from the blocks,
  // `cuda` widens them to the activation dtype as they are written.
  virtual absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                               int64_t cols) = 0;

  // Writes rows [row_begin, row_begin + n) of `matrix` from `bytes`: n rows of cols little-endian
  // elements (or blocks) of the matrix's dtype, row-major, possibly unaligned. Waits.
  virtual absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                                       Matrix* matrix) = 0;

  virtual absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) = 0;

  // Copies host floats, row-major and dense [y.rows, y.cols], into `y`.
  virtual absl::Status Upload(absl::Span<const float> x, const Tensor& y) = 0;
  // Copies `x` into host floats, row-major and dense. Waits.
  virtual absl::Status Download(const Tensor& x, absl::Span<float> y) = 0;
  // Waits until all earlier work is done.
  virtual absl::Status Synchronize() = 0;

  // --- Steps
  // -------------------------------------------------------------------------------------

  // Rows to which a pass of `num_rows` decodes is padded so that it can be recorded once and played
  // again; num_rows: it is not. A padding row belongs to no segment, has token 0 and position 0;
  // what becomes of it is undefined and influences no other row.
  virtual int32_t PaddedRows(int32_t num_rows) const { return num_rows; }

  // Begins a forward pass. Returns true if the backend played the whole pass from a recording, so
  // that no op is to be called; else the caller calls the ops, then EndForward, also when one
  // failed.
  virtual absl::StatusOr<bool> BeginForward(const ForwardInputs& inputs);
  // Ends the pass that BeginForward began (false): `status` is what became of it. Returns `status`,
  // or why the pass failed after all.
  virtual absl::Status EndForward(absl::Status status) { return status; }

  // The queue of the calls that follow. Rows of features that CopyRows takes on the main queue are
  // waited for there.
  virtual void SelectQueue(Queue) {}

  // Draws one token for each of `draws` from rows of `logits`, in the order given, and keeps them
  // as the rows that FromDraw names until the next call. Returns a ticket for TakeDraws. At most
  // info().in_flight tickets are out at a time.
  virtual absl::StatusOr<uint64_t> DrawTokens(const Tensor& logits,
                                              absl::Span<const TokenDraw> draws);
  // Waits for the draws of a ticket; each ticket is taken once, in order.
  virtual absl::Status TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn);

  // --- Ops
  // ---------------------------------------------------------------------------------------- Unless
  // said otherwise tensors have the activation dtype, outputs must not overlap inputs, and sums are
  // taken in float32 (double on `ref`).

  // y[t, :] = table[ids[t], :]. y: [T, table.cols]. Requires 0 <= ids[t] < table.rows, or an id
  // made by FromDraw: the token that was drawn there. In a pass `ids` are its token_ids, or its
  // positions (a table of learned positions).
  virtual absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids,
                             const Tensor& y) = 0;

  // y[y_rows[i], :] = x[x_rows[i], :] for every i. Same number of columns; y_rows distinct.
  virtual absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                                absl::Span<const int32_t> y_rows, const Tensor& y) = 0;

  struct LinearOptions {
    const Tensor* bias = nullptr;  // [1, N], added after the sum.
    Activation activation = Activation::kNone;
    bool accumulate = false;  // y += result instead of y = result (residual).
  };
  // y[t, n] (+)= activation(sum_k x[t, k] * weight[n, k] + bias[n]). x: [T, K], weight: [N, K],
  // y: [T, N]. Weights are widened to the activation dtype; products are fused into the sum.
  virtual absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                              const Tensor& y) = 0;

  struct RmsNormOptions {
    float eps = 0;
    float weight_offset = 0;  // Gemma keeps weights as their difference from 1.
  };
  // y[t, :] = x[t, :] * rsqrt(mean(x[t, :]^2) + eps) * (weight_offset + weight), the sum in
  // float32. weight: [1, dim]. y may be x.
  virtual absl::Status RmsNorm(const Tensor& x, const Tensor& weight, const RmsNormOptions& options,
                               const Tensor& y) = 0;

  // y[t, :] = (x[t, :] - mean) * rsqrt(var + eps) * weight + bias, with the biased variance
  // E[(x - mean)^2]. weight, bias: [1, dim]. y may be x.
  virtual absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                 float eps, const Tensor& y) = 0;

  // y[t, i] = activation(x[t, i]) * x[t, I + i]. x: [T, 2 I] (gate, then up), y: [T, I].
  virtual absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) = 0;

  // y[t, :] += x[t, :]; a single row of x is added to every row of y.
  virtual absl::Status Add(const Tensor& x, const Tensor& y) = 0;

  // y[t, :] = factor * y[t, :].
  virtual absl::Status Scale(float factor, const Tensor& y) = 0;

  // y[t, :] = min(max(y[t, :], -limit), limit). Requires limit > 0.
  virtual absl::Status Clamp(float limit, const Tensor& y) = 0;

  // The rotary angles of a step, shared by all layers: y[t, i] = cos(a) and y[t, n + i] = sin(a)
  // with a = float32(positions[t]) * inverse_frequencies[i] rounded to float32, n = head_dim / 2.
  // y: [T, head_dim], or [T, R] for models that rotate the first R of a head only; n = R / 2 then.
  virtual absl::Status RotaryAngles(absl::Span<const int32_t> positions,
                                    absl::Span<const float> inverse_frequencies,
                                    const Tensor& y) = 0;

  // Rotates q and k (rotate-half convention) and writes k and v of every row to its slot.
  // qkv: [T, (H + 2 KV) * head_dim], columns q heads, k heads, v heads; the q columns are rotated
  // in place, the k and v columns are left undefined. angles: [T, R] from RotaryAngles, R <=
  // head_dim even: the first R values of every head are rotated, pairs (i, i + R / 2); or null for
  // models without rotation. K and V are rounded to the pool's dtype. A pool that keeps positions
  // gets those of the rows.
  virtual absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                               absl::Span<const KvSegment> segments, KvPool* pool) = 0;

  struct AttentionOptions {
    float scale = 1;
    // ALiBi (arXiv:2108.12409): [1, H] of NewAngles. The score of a row at position p for a slot of
    // position r gets slopes[h] * (r - p) added. Requires a pool that keeps positions.
    const Tensor* alibi_slopes = nullptr;
  };
  // y[t, h, :] = softmax(scale * q[t, h, :] . K) V over the visible slots of the row's segment;
  // head h reads kv head h / (H / KV). q: [T, >= H * head_dim] (columns as in WriteKv), y: [T, H *
  // head_dim]. K and V come from pages in their stored dtype, also those of the row's own chunk.
  // Slots a row does not see never influence it, whatever they hold.
  // Segments whose pages begin with the same ids share those pages. A shared page
  // that all rows of several segments see whole is read once for many of these rows together
  // (`cpu`: up to 192 query vectors of a kv head), not once for every segment. The bits are the
  // same.
  // Sums of a segment (see KvSegment) are a strict left fold in float32: for each row in ascending
  // order, the heads' probabilities are added in ascending order, multiplied by 1 / num_heads, and
  // added to the sum; so they do not depend on how rows are cut into calls (rule 5). Products may
  // be fused into sums. Memory beyond the sums: two numbers for each row and head of the call. A
  // segment without sums costs nothing; `cpu` reads the K of one with sums again, also shared
  // pages.
  virtual absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                                      const AttentionOptions& options,
                                      absl::Span<const KvSegment> segments, const Tensor& y) = 0;

  // Unmasked self-attention among the rows of one image. qkv: [T, 3 * H * head_dim] (q, k, v),
  // y: [T, H * head_dim]. Any head_dim.
  virtual absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                                       const Tensor& y) = 0;

  // y[t, h, :] = softmax(scale * q[t, h, :] . K) V over all keys of the row's segment, unmasked; 0
  // for rows of no segment. q, y: [T, H * head_dim]. Any head_dim. The softmax is taken in blocks
  // of 256 keys, as that of PagedAttention.
  virtual absl::Status CrossAttention(const Tensor& q, int num_heads, float scale,
                                      absl::Span<const CrossSegment> segments, const Tensor& y) = 0;

  // y[r * G + c, :] = pixels of patch (r, c), channel slowest: [3][P][P]. pixels: [3, S * S] with S
  // the image side, y: [G * G, 3 * P * P], G = S / P; pixels beyond G * P are ignored.
  virtual absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) = 0;

  // Moves slots of K and V between pages of one layer; all kv heads, in the pool's dtype; positions
  // with them (of a mean: the first source's). No page is both a source and a destination. Means
  // are taken in float32 and rounded once. Errors: UNIMPLEMENTED for means on a backend without
  // them.
  virtual absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool);

  // Copies whole pages. No page is both a source and a destination.
  virtual absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) = 0;

  // y[i] = log(softmax(logits[rows[i], :])[columns[i]]) for every i, in host memory; the same row
  // may come many times, best in a run. Waits.
  virtual absl::Status GatherLogprobs(const Tensor& logits, absl::Span<const int32_t> rows,
                                      absl::Span<const int32_t> columns, absl::Span<float> y);

  // y[i] = min(0, log(softmax(x[rows[i], :] . weight^T)[columns[i]])) for every i, in host memory:
  // the log-probabilities of GatherLogprobs over Linear(x, weight), but the logits are never there
  // together. Logits are those of Linear, bit for bit (on `ref` and `cpu`); the sum of a row is
  // folded over tiles of kHeadTile columns in ascending order, so it does not depend on the other
  // rows. Not finite where a logit is not. Scratch: x.rows * kHeadTile numbers of 4 bytes (on `ref`
  // more). rows: ascending, a row may come many times; x.rows need not all be named. Waits.
  static constexpr int64_t kHeadTile = 4096;
  virtual absl::Status HeadLogprobs(const Tensor& x, const Matrix& weight,
                                    absl::Span<const int32_t> rows,
                                    absl::Span<const int32_t> columns, absl::Span<float> y);

 protected:
  // The token that id stands for: itself, or what was drawn (host memory).
  int32_t ResolveId(int32_t id) const;

 private:
  // What DrawTokens of a backend without an own one has drawn.
  struct HostDraws;
  std::shared_ptr<HostDraws> host_draws_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_BACKEND_H_
