// What is to be expected of a card: shapes of models, least times from bytes and operations, the
// bars below which a measurement is flagged, and the table of the PrefixKV paper.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_FLOORS_H_
#define PREFIXD_TOOLS_ACCEPTANCE_FLOORS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/layers/decoder.h"

namespace prefixd::acceptance {

struct ModelShape {
  std::string name;
  DecoderShape layer;
  int num_layers = 0;
  int64_t vocab_size = 0;
  // The image tower; 0 rows: none.
  int64_t image_rows = 0;
  int image_heads = 0, image_head_dim = 0;

  int64_t LayerWeights() const;      // Elements of one layer's matrices.
  uint64_t WeightBytes() const;      // In 16 bits: all matrices that a step reads.
  uint64_t KvBytesPerToken() const;  // In 16 bits: all layers.
};
const ModelShape& Llava7B();
const ModelShape& Llava13B();
const ModelShape& ToyModel();  // As small as the kernels allow.

// What the card reaches, measured (stage ceilings).
struct Ceilings {
  double copy_bytes_per_second = 0;  // Read plus written.
  double gemm_flops_per_second = 0;
};

enum class KernelKind { kOther, kDecodeAttention, kPrefillAttention, kGather, kGemm };

// One kernel at one shape.
struct KernelTime {
  std::string kernel, shape;
  KernelKind kind = KernelKind::kOther;
  double bytes = 0;  // That must be read and written.
  double flops = 0;
  int64_t rows = 0;    // Of a prefill: its length.
  std::string step;    // The step that it is part of; empty: none.
  double calls = 0;    // In that step.
  double seconds = 0;  // Measured.
};

// The larger of bytes / copy rate and operations / GEMM rate.
double FloorSeconds(const KernelTime& time, const Ceilings& ceilings);
// Share of the ceiling that binds the kernel: floor / measured.
double ShareOfCeiling(const KernelTime& time, const Ceilings& ceilings);

// One line for each measurement below its bar: attention of decodes under 70 % of the copy rate,
// of prefills of 2048 rows or more under 40 % of the GEMM rate, gathers under 75 % of the copy
// rate, and any kernel that takes more than 2 % of its step and reaches less than half of its
// floor.
std::vector<std::string> Flags(absl::Span<const KernelTime> times, const Ceilings& ceilings);

// The shares of the KV that the paper's table keeps.
inline constexpr std::array<double, 5> kBudgets = {0.2, 0.4, 0.6, 0.8, 1.0};

// A row of the paper's table of latency (arXiv:2412.03409); below 0: out of memory there.
struct PaperRow {
  int batch = 0;
  bool large = false;  // 13B, else 7B.
  int prompt = 0, generated = 0;
  std::array<double, 5> seconds, tokens_per_second;  // By kBudgets.

  const ModelShape& model() const { return large ? Llava13B() : Llava7B(); }
};
const std::vector<PaperRow>& PaperTable();

// Seconds to generate `generated` tokens for each of `batch` sequences: each step reads the weights
// and the KV that is kept, on average that of prompt + generated / 2 tokens.
double DecodeFloorSeconds(const ModelShape& model, int batch, int prompt, int generated,
                          double budget, double bytes_per_second);

// Slots by layer when `budget` of `tokens` is kept: as PrefixKV's profiles have it, early layers
// keep more than late ones, here along a straight line, and the mean is the budget.
std::vector<int> KeptByLayer(int num_layers, int tokens, double budget);

// Pages of the batch at its longest; lists of layers are counted in whole pages.
int64_t PagesNeeded(const ModelShape& model, int batch, int tokens, double budget);
uint64_t PageBytes(const ModelShape& model);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_FLOORS_H_
