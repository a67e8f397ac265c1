#include "tests/cuda_emulation/tiny_decoder.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr int kQkvCols = (kTinyHeads + 2 * kTinyKvHeads) * kTinyHeadDim;

absl::StatusOr<std::unique_ptr<Matrix>> RandomMatrix(Backend* backend, uint32_t seed, int64_t rows,
                                                     int64_t cols) {
  PREFIXD_ASSIGN_OR_RETURN(auto matrix, backend->CreateMatrix(DType::kF32, rows, cols));
  std::mt19937 random(seed);
  std::vector<float> values(rows * cols);
  for (float& value : values) value = static_cast<float>(random()) * 0x1p-32f - 0.5f;
  PREFIXD_RETURN_IF_ERROR(backend->WriteMatrixRows(
      0, {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)},
      matrix.get()));
  return matrix;
}

}  // namespace

void TinyWorld::Append(Sequence* sequence, int32_t num_rows, TinyPass* pass) {
  const int32_t row_begin = static_cast<int32_t>(pass->token_ids.size());
  for (int32_t i = 0; i < num_rows; ++i) {
    pass->token_ids.push_back(Below(kTinyVocabulary));
    pass->positions.push_back(sequence->length + i);
  }
  std::vector<int32_t> slots(num_rows);
  std::iota(slots.begin(), slots.end(), sequence->length);
  pass->pages.resize(kTinyLayers);
  pass->write_slots.resize(kTinyLayers);
  pass->layers.resize(kTinyLayers);
  for (int layer = 0; layer < kTinyLayers; ++layer) {
    std::vector<int32_t>& pages = sequence->pages[layer];
    while (static_cast<int32_t>(pages.size()) * kPageSlots < sequence->length + num_rows) {
      pages.push_back(free_.back());
      free_.pop_back();
    }
    pass->pages[layer].push_back(pages);
    pass->write_slots[layer].push_back(slots);
    pass->layers[layer].push_back({.row_begin = row_begin,
                                   .num_rows = num_rows,
                                   .first_visible = sequence->length + 1,
                                   .first_position = sequence->length});
  }
  sequence->length += num_rows;
  pass->num_rows += num_rows;
}

void TinyWorld::Seal(TinyPass* pass) {
  for (int layer = 0; layer < kTinyLayers; ++layer) {
    for (size_t s = 0; s < pass->layers[layer].size(); ++s) {
      pass->layers[layer][s].pages = pass->pages[layer][s];
      pass->layers[layer][s].write_slots = pass->write_slots[layer][s];
    }
  }
}

TinyPass TinyWorld::Start(int32_t num_tokens, bool share) {
  Sequence sequence;
  if (share && !sequences_.empty()) {
    const Sequence& other = sequences_[Below(static_cast<int32_t>(sequences_.size()))];
    sequence.length = other.length / kPageSlots * kPageSlots;
    for (int layer = 0; layer < kTinyLayers; ++layer) {
      sequence.pages[layer].assign(other.pages[layer].begin(),
                                   other.pages[layer].begin() + sequence.length / kPageSlots);
    }
  }
  TinyPass pass;
  Append(&sequence, num_tokens, &pass);
  Seal(&pass);
  sequences_.push_back(sequence);
  return pass;
}

TinyPass TinyWorld::Decode(const Backend& backend) {
  TinyPass pass;
  for (Sequence& sequence : sequences_) Append(&sequence, 1, &pass);
  pass.decodes_only = true;
  const size_t rows = backend.PaddedRows(pass.num_rows);
  pass.token_ids.resize(rows, 0);
  pass.positions.resize(rows, 0);
  Seal(&pass);
  return pass;
}

// Its pages are not given back: others may share them.
void TinyWorld::End(size_t sequence) {
  sequences_.erase(sequences_.begin() + static_cast<int64_t>(sequence));
}

absl::StatusOr<std::unique_ptr<TinyDecoder>> TinyDecoder::Create(Backend* backend,
                                                                 int32_t num_pages) {
  std::unique_ptr<TinyDecoder> decoder(new TinyDecoder(backend));
  PREFIXD_ASSIGN_OR_RETURN(decoder->pool_,
                           backend->CreateKvPool({.num_pages = num_pages,
                                                  .num_kv_heads = kTinyKvHeads,
                                                  .head_dim = kTinyHeadDim,
                                                  .dtype = backend->info().default_kv_dtype,
                                                  .keeps_positions = true}));
  PREFIXD_ASSIGN_OR_RETURN(decoder->embedding_,
                           RandomMatrix(backend, 1, kTinyVocabulary, kTinyHidden));
  PREFIXD_ASSIGN_OR_RETURN(decoder->positions_,
                           RandomMatrix(backend, 4, kTinyMaxPositions, kTinyHidden));
  PREFIXD_ASSIGN_OR_RETURN(decoder->slopes_, backend->NewAngles(1, kTinyHeads));
  std::vector<float> slopes;
  for (int head = 0; head < kTinyHeads; ++head) slopes.push_back(0.1f * static_cast<float>(head));
  PREFIXD_RETURN_IF_ERROR(backend->Upload(slopes, decoder->slopes_.view));
  PREFIXD_ASSIGN_OR_RETURN(decoder->qkv_weight_, RandomMatrix(backend, 2, kQkvCols, kTinyHidden));
  PREFIXD_ASSIGN_OR_RETURN(decoder->output_weight_,
                           RandomMatrix(backend, 3, kTinyHidden, kTinyHidden));
  PREFIXD_ASSIGN_OR_RETURN(decoder->norm_, backend->NewTensor(1, kTinyHidden));
  PREFIXD_RETURN_IF_ERROR(
      backend->Upload(std::vector<float>(kTinyHidden, 1.0f), decoder->norm_.view));
  for (auto& [tensor, cols] :
       std::vector<std::pair<OwnedTensor*, int>>{{&decoder->hidden_, kTinyHidden},
                                                 {&decoder->normed_, kTinyHidden},
                                                 {&decoder->qkv_, kQkvCols},
                                                 {&decoder->attention_, kTinyHeads * kTinyHeadDim},
                                                 {&decoder->last_, kTinyHidden},
                                                 {&decoder->logits_, kTinyVocabulary}}) {
    PREFIXD_ASSIGN_OR_RETURN(*tensor, backend->NewTensor(kTinyMaxRows, cols));
  }
  PREFIXD_ASSIGN_OR_RETURN(decoder->angles_, backend->NewAngles(kTinyMaxRows, kTinyHeadDim));
  for (int i = 0; i < kTinyHeadDim / 2; ++i) {
    decoder->frequencies_.push_back(static_cast<float>(std::pow(0.1, i)));
  }
  return decoder;
}

absl::Status TinyDecoder::Run(const TinyPass& pass, bool announce) {
  std::vector<absl::Span<const KvSegment>> layers(pass.layers.begin(), pass.layers.end());
  if (!announce) return Ops(pass, layers);
  PREFIXD_ASSIGN_OR_RETURN(const bool played,
                           backend_->BeginForward({.token_ids = pass.token_ids,
                                                   .positions = pass.positions,
                                                   .layers = layers,
                                                   .pool = pool_.get(),
                                                   .decodes_only = pass.decodes_only}));
  if (played) {
    ++num_played_;
    return absl::OkStatus();
  }
  return backend_->EndForward(Ops(pass, layers));
}

absl::Status TinyDecoder::Ops(const TinyPass& pass,
                              absl::Span<const absl::Span<const KvSegment>> layers) {
  const int64_t rows = static_cast<int64_t>(pass.token_ids.size());
  const Tensor x = hidden_.view.Rows(0, rows), normed = normed_.view.Rows(0, rows);
  const Tensor qkv = qkv_.view.Rows(0, rows), angles = angles_.view.Rows(0, rows);
  const Tensor attention = attention_.view.Rows(0, rows), last = last_.view.Rows(0, rows);
  PREFIXD_RETURN_IF_ERROR(backend_->Embed(*embedding_, pass.token_ids, x));
  PREFIXD_RETURN_IF_ERROR(backend_->Embed(*positions_, pass.positions, normed));
  PREFIXD_RETURN_IF_ERROR(backend_->Add(normed, x));
  PREFIXD_RETURN_IF_ERROR(backend_->RotaryAngles(pass.positions, frequencies_, angles));
  for (const absl::Span<const KvSegment> segments : layers) {
    PREFIXD_RETURN_IF_ERROR(backend_->RmsNorm(x, norm_.view, {.eps = 1e-5f}, normed));
    PREFIXD_RETURN_IF_ERROR(backend_->Linear(normed, *qkv_weight_, {}, qkv));
    PREFIXD_RETURN_IF_ERROR(backend_->WriteKv(qkv, &angles, kTinyHeads, segments, pool_.get()));
    PREFIXD_RETURN_IF_ERROR(backend_->PagedAttention(
        qkv, *pool_, kTinyHeads, {.scale = 0.25f, .alibi_slopes = &slopes_.view}, segments,
        attention));
    PREFIXD_RETURN_IF_ERROR(backend_->Linear(attention, *output_weight_, {.accumulate = true}, x));
  }
  std::vector<int32_t> all(rows);
  std::iota(all.begin(), all.end(), 0);
  PREFIXD_RETURN_IF_ERROR(backend_->CopyRows(x, all, all, last));
  PREFIXD_RETURN_IF_ERROR(backend_->RmsNorm(last, norm_.view, {.eps = 1e-5f}, last));
  return backend_->Linear(last, *embedding_, {}, logits_.view.Rows(0, rows));
}

absl::StatusOr<std::vector<float>> TinyDecoder::Logits(const TinyPass& pass) {
  std::vector<float> values(static_cast<size_t>(pass.num_rows) * kTinyVocabulary);
  PREFIXD_RETURN_IF_ERROR(
      backend_->Download(logits_.view.Rows(0, pass.num_rows), absl::MakeSpan(values)));
  return values;
}

absl::StatusOr<std::unique_ptr<Backend>> CreateTinyBackend(DType dtype, bool deterministic,
                                                           bool graphs) {
  return cuda::CreateCudaBackend({.device_name = "emulated",
                                  .activation_dtype = dtype,
                                  .deterministic = deterministic,
                                  .graphs = graphs,
                                  .staging_bytes = 256,
                                  .transfer_bytes = 1 << 12,
                                  .workspace_bytes = 1 << 12});
}

}  // namespace prefixd
