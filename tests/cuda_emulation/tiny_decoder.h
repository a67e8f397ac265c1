// A decoder of two layers made of backend ops, and sequences that grow, share pages and end: what
// tests of the CUDA backend's host code run.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_TINY_DECODER_H_
#define PREFIXD_TESTS_CUDA_EMULATION_TINY_DECODER_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda_backend.h"

namespace prefixd {

inline constexpr int kTinyLayers = 2, kTinyHeads = 4, kTinyKvHeads = 2, kTinyHeadDim = 16;
inline constexpr int kTinyHidden = 64, kTinyVocabulary = 48, kTinyMaxRows = 640;
inline constexpr int kTinyMaxPositions = 4096;

// The inputs of one pass, owned.
struct TinyPass {
  std::vector<int32_t> token_ids, positions;
  std::vector<std::vector<std::vector<int32_t>>> pages;        // [layer][segment].
  std::vector<std::vector<std::vector<int32_t>>> write_slots;  // [layer][segment].
  std::vector<std::vector<KvSegment>> layers;
  bool decodes_only = false;
  int32_t num_rows = 0;  // Without padding.
};

// Sequences and their pages; passes depend on the seed alone. One page id space for both layers.
class TinyWorld {
 public:
  TinyWorld(uint32_t seed, int32_t num_pages) : random_(seed), free_(num_pages) {
    for (int32_t i = 0; i < num_pages; ++i) free_[i] = num_pages - 1 - i;
    std::shuffle(free_.begin(), free_.end(), random_);
  }

  // The prompt of a new sequence, on the full pages of another one if there is one and `share`.
  TinyPass Start(int32_t num_tokens, bool share);
  // A row of every sequence, padded.
  TinyPass Decode(const Backend& backend);
  void End(size_t sequence);
  size_t num_sequences() const { return sequences_.size(); }
  int32_t Below(int32_t n) { return static_cast<int32_t>(random_() % n); }

 private:
  struct Sequence {
    std::vector<int32_t> pages[kTinyLayers];
    int32_t length = 0;
  };
  void Append(Sequence* sequence, int32_t num_rows, TinyPass* pass);
  static void Seal(TinyPass* pass);

  std::mt19937 random_;
  std::vector<int32_t> free_;
  std::vector<Sequence> sequences_;
};

class TinyDecoder {
 public:
  static absl::StatusOr<std::unique_ptr<TinyDecoder>> Create(Backend* backend, int32_t num_pages);

  // One pass; with `announce` through BeginForward. The logits of all rows stay on the device.
  absl::Status Run(const TinyPass& pass, bool announce = true);
  // The logits of the pass's rows.
  absl::StatusOr<std::vector<float>> Logits(const TinyPass& pass);
  const Tensor& logits() const { return logits_.view; }
  int num_played() const { return num_played_; }

 private:
  explicit TinyDecoder(Backend* backend) : backend_(backend) {}
  absl::Status Ops(const TinyPass& pass, absl::Span<const absl::Span<const KvSegment>> layers);

  Backend* const backend_;
  std::unique_ptr<KvPool> pool_;
  std::unique_ptr<Matrix> embedding_, positions_, qkv_weight_, output_weight_;
  OwnedTensor norm_, slopes_, hidden_, normed_, qkv_, angles_, attention_, last_, logits_;
  std::vector<float> frequencies_;
  int num_played_ = 0;
};

// A backend for these tests: small blocks, every edge near.
absl::StatusOr<std::unique_ptr<Backend>> CreateTinyBackend(DType dtype, bool deterministic,
                                                           bool graphs);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_CUDA_EMULATION_TINY_DECODER_H_
