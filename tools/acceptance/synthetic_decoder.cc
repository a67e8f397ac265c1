#include "tools/acceptance/synthetic_decoder.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tools/acceptance/device_timer.h"

namespace prefixd::acceptance {
namespace {

constexpr int kMaxBatch = 64;  // Rows of logits.

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SyntheticDecoder>> SyntheticDecoder::Create(const ModelShape& model,
                                                                           int max_rows,
                                                                           Backend* backend) {
  std::unique_ptr<SyntheticDecoder> decoder(
      new SyntheticDecoder(model, std::max(max_rows, kMaxBatch), backend));
  PREFIXD_RETURN_IF_ERROR(decoder->LoadWeights());
  return decoder;
}

absl::StatusOr<std::unique_ptr<Matrix>> SyntheticDecoder::RandomMatrix(int64_t rows, int64_t cols) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           backend_->CreateMatrix(DType::kBF16, rows, cols));
  const int64_t at_once = std::max<int64_t>(1, static_cast<int64_t>(random_.size()) / 2 / cols);
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row);
    const auto elements = static_cast<size_t>(count * cols);
    // Another part of the random numbers each time.
    next_random_ = (next_random_ + 7919) % (random_.size() - elements + 1);
    PREFIXD_RETURN_IF_ERROR(backend_->WriteMatrixRows(
        row,
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&random_[next_random_]), 2 * elements),
        matrix.get()));
  }
  return matrix;
}

absl::StatusOr<OwnedTensor> SyntheticDecoder::Ones() {
  const int64_t hidden = model_.layer.hidden_size;
  PREFIXD_ASSIGN_OR_RETURN(OwnedTensor tensor, backend_->NewTensor(1, hidden));
  PREFIXD_RETURN_IF_ERROR(
      backend_->Upload(std::vector<float>(static_cast<size_t>(hidden), 1.0f), tensor.view));
  return tensor;
}

absl::Status SyntheticDecoder::LoadWeights() {
  const DecoderShape& shape = model_.layer;
  const int64_t widest = std::max(shape.hidden_size, shape.intermediate_size);
  random_ = RandomBf16(static_cast<size_t>(std::max<int64_t>(4 << 20, 4 * widest)), 11);
  PREFIXD_ASSIGN_OR_RETURN(embedding_, RandomMatrix(model_.vocab_size, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(head_, RandomMatrix(model_.vocab_size, shape.hidden_size));
  for (int i = 0; i < model_.num_layers; ++i) {
    DecoderLayer layer;
    PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm, Ones());
    PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm, Ones());
    PREFIXD_ASSIGN_OR_RETURN(layer.qkv, RandomMatrix(shape.qkv_size(), shape.hidden_size));
    PREFIXD_ASSIGN_OR_RETURN(layer.output, RandomMatrix(shape.hidden_size, shape.q_size()));
    PREFIXD_ASSIGN_OR_RETURN(layer.gate_up,
                             RandomMatrix(2 * shape.intermediate_size, shape.hidden_size));
    PREFIXD_ASSIGN_OR_RETURN(layer.down, RandomMatrix(shape.hidden_size, shape.intermediate_size));
    layers_.push_back(std::move(layer));
  }
  PREFIXD_ASSIGN_OR_RETURN(norm_, Ones());
  PREFIXD_ASSIGN_OR_RETURN(scratch_, DecoderScratch::Allocate(shape, max_rows_, backend_));
  PREFIXD_ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(max_rows_, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(angles_, backend_->NewAngles(max_rows_, shape.head_dim));
  PREFIXD_ASSIGN_OR_RETURN(last_, backend_->NewTensor(kMaxBatch, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(logits_, backend_->NewTensor(kMaxBatch, model_.vocab_size));
  for (int i = 0; i < shape.head_dim / 2; ++i) {
    frequencies_.push_back(
        std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(shape.head_dim)));
  }
  row_ids_.resize(kMaxBatch);
  std::iota(row_ids_.begin(), row_ids_.end(), 0);
  return absl::OkStatus();
}

absl::Status SyntheticDecoder::CreatePool(int32_t num_pages) {
  PREFIXD_ASSIGN_OR_RETURN(pool_, backend_->CreateKvPool({.num_pages = num_pages,
                                                          .num_kv_heads = model_.layer.num_kv_heads,
                                                          .head_dim = model_.layer.head_dim,
                                                          .dtype = DType::kBF16}));
  return absl::OkStatus();
}

absl::Status SyntheticDecoder::Place(int batch, const std::vector<int>& slots, int shared_slots) {
  const auto pages_of = [](int count) { return (count + kPageSlots - 1) / kPageSlots; };
  const int shared = std::min(shared_slots, slots.back()) / kPageSlots;
  int64_t needed = 0;
  for (const int count : slots) needed += shared + int64_t{batch} * (pages_of(count) - shared);
  if (batch > kMaxBatch || needed > num_pages()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("needs ", needed, " pages, there are ", num_pages()));
  }
  batch_ = batch;
  slots_ = slots;
  pages_.assign(slots.size(), {});
  int32_t next = 0;
  for (size_t layer = 0; layer < slots.size(); ++layer) {
    std::vector<int32_t> common(static_cast<size_t>(shared));
    for (int32_t& page : common) page = next++;
    for (int s = 0; s < batch; ++s) {
      std::vector<int32_t> list = common;
      while (static_cast<int>(list.size()) < pages_of(slots[layer])) list.push_back(next++);
      pages_[layer].push_back(std::move(list));
    }
  }
  return absl::OkStatus();
}

absl::Status SyntheticDecoder::FillSlots() {
  for (int s = 0; s < batch_; ++s) PREFIXD_RETURN_IF_ERROR(Prefill(s, slots_.front()));
  return backend_->Synchronize();
}

absl::Status SyntheticDecoder::Prefill(int sequence, int tokens) {
  std::vector<int32_t> ids, positions;
  for (int begin = 0; begin < tokens; begin += max_rows_) {
    const int rows = std::min(max_rows_, tokens - begin);
    ids.clear();
    positions.resize(static_cast<size_t>(rows));
    std::iota(positions.begin(), positions.end(), begin);
    for (const int32_t position : positions) {
      ids.push_back(
          static_cast<int32_t>((position * 7919 + sequence * 104729) % model_.vocab_size));
    }
    write_slots_ = positions;
    segments_.assign(pages_.size(), {});
    for (size_t layer = 0; layer < pages_.size(); ++layer) {
      // Rows that find no slot in a layer find none in those behind it.
      const int fit = std::min(rows, slots_[layer] - begin);
      if (fit <= 0) break;
      segments_[layer].push_back(
          {.num_rows = fit,
           .pages = pages_[layer][static_cast<size_t>(sequence)],
           .write_slots = absl::MakeConstSpan(write_slots_).first(static_cast<size_t>(fit)),
           .first_visible = begin + 1});
    }
    PREFIXD_RETURN_IF_ERROR(Forward(ids, positions, 1, false));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> SyntheticDecoder::PrefillSeconds(int tokens) {
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    PREFIXD_RETURN_IF_ERROR(backend_->Synchronize());
    const double start = Now();
    PREFIXD_RETURN_IF_ERROR(Prefill(0, tokens));
    PREFIXD_RETURN_IF_ERROR(backend_->Synchronize());
    if (i > 0) seconds.push_back(Now() - start);
  }
  return Median(std::move(seconds));
}

absl::StatusOr<double> SyntheticDecoder::DecodeSeconds(const std::vector<int>& slots, int steps) {
  constexpr int kWarm = 4;  // Eager, then recorded, then played.
  const int rows = std::max(batch_, backend_->PaddedRows(batch_));
  write_slots_.clear();
  for (size_t layer = 0; layer < slots.size(); ++layer) {
    if (rows > kMaxBatch || slots[layer] > slots_[layer] || slots[layer] < 1) {
      return absl::InvalidArgumentError("more rows or slots than there are");
    }
    write_slots_.push_back(slots[layer] - 1);
  }
  segments_.assign(pages_.size(), {});
  for (size_t layer = 0; layer < pages_.size(); ++layer) {
    for (int s = 0; s < batch_; ++s) {
      segments_[layer].push_back({.row_begin = s,
                                  .num_rows = 1,
                                  .pages = pages_[layer][static_cast<size_t>(s)],
                                  .write_slots = absl::MakeConstSpan(&write_slots_[layer], 1),
                                  .first_visible = slots[layer]});
    }
  }
  std::vector<int32_t> ids(static_cast<size_t>(rows), 0), positions(ids.size(), 0);
  std::vector<TokenDraw> draws(static_cast<size_t>(batch_));
  for (int s = 0; s < batch_; ++s) {
    ids[static_cast<size_t>(s)] = s + 1;
    positions[static_cast<size_t>(s)] = slots.front() - 1;
    draws[static_cast<size_t>(s)].logits_row = s;
  }
  std::deque<uint64_t> tickets;
  std::vector<DrawnToken> drawn;
  std::vector<double> ends;
  for (int step = 0; step < steps + kWarm; ++step) {
    PREFIXD_RETURN_IF_ERROR(Forward(ids, positions, rows, true));
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t ticket,
                             backend_->DrawTokens(logits_.view.Rows(0, rows), draws));
    tickets.push_back(ticket);
    for (int s = 0; s < batch_; ++s) ids[static_cast<size_t>(s)] = FromDraw(s);
    if (static_cast<int>(tickets.size()) < backend_->info().in_flight) continue;
    PREFIXD_RETURN_IF_ERROR(backend_->TakeDraws(tickets.front(), &drawn));
    tickets.pop_front();
    if (drawn.empty() || drawn[0].token < 0) return absl::InternalError("a logit is not a number");
    ends.push_back(Now());
  }
  for (; !tickets.empty(); tickets.pop_front()) {
    PREFIXD_RETURN_IF_ERROR(backend_->TakeDraws(tickets.front(), &drawn));
    ends.push_back(Now());
  }
  std::vector<double> seconds;
  for (size_t i = kWarm; i < ends.size(); ++i) seconds.push_back(ends[i] - ends[i - 1]);
  return Median(std::move(seconds));
}

absl::Status SyntheticDecoder::Forward(absl::Span<const int32_t> ids,
                                       absl::Span<const int32_t> positions, int logit_rows,
                                       bool decodes_only) {
  views_.assign(segments_.begin(), segments_.end());
  PREFIXD_ASSIGN_OR_RETURN(const bool played,
                           backend_->BeginForward({.token_ids = ids,
                                                   .positions = positions,
                                                   .layers = views_,
                                                   .pool = pool_.get(),
                                                   .decodes_only = decodes_only}));
  if (played) return absl::OkStatus();
  return backend_->EndForward(Layers(ids, positions, logit_rows));
}

absl::Status SyntheticDecoder::Layers(absl::Span<const int32_t> ids,
                                      absl::Span<const int32_t> positions, int logit_rows) {
  const auto rows = static_cast<int64_t>(ids.size());
  const Tensor x = hidden_.view.Rows(0, rows), angles = angles_.view.Rows(0, rows);
  PREFIXD_RETURN_IF_ERROR(backend_->Embed(*embedding_, ids, x));
  PREFIXD_RETURN_IF_ERROR(backend_->RotaryAngles(positions, frequencies_, angles));
  for (size_t i = 0; i < layers_.size(); ++i) {
    PREFIXD_RETURN_IF_ERROR(DecoderLayerForward(model_.layer, layers_[i], angles, views_[i],
                                                scratch_, backend_, pool_.get(), x));
  }
  const Tensor last = last_.view.Rows(0, logit_rows);
  const auto wanted = absl::MakeConstSpan(row_ids_).subspan(0, static_cast<size_t>(logit_rows));
  PREFIXD_RETURN_IF_ERROR(backend_->CopyRows(x, wanted, wanted, last));
  PREFIXD_RETURN_IF_ERROR(
      backend_->RmsNorm(last, norm_.view, {.eps = model_.layer.norm_eps}, last));
  return backend_->Linear(last, *head_, {}, logits_.view.Rows(0, logit_rows));
}

}  // namespace prefixd::acceptance
