#include "engine/backend/cuda/cuda_draws.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd::cuda {
namespace {

constexpr size_t kFirstTokens = 1024;

RankedToken RankedOf(const Ranked& ranked) {
  return {.id = ranked.id, .logprob = ranked.logprob, .rank = ranked.rank};
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaDraws>> CudaDraws::Create(CudaHealth* health,
                                                             const CudaStreams* streams,
                                                             DeviceMemory* memory,
                                                             StagingRing* ring) {
  std::unique_ptr<CudaDraws> draws(new CudaDraws(health, streams, memory, ring));
  PREFIXD_ASSIGN_OR_RETURN(
      draws->tokens_, memory->Allocate(kFirstTokens * sizeof(int32_t), DeviceMemory::Content::kZero,
                                       "drawn tokens"));
  for (Out& out : draws->outs_) {
    PREFIXD_ASSIGN_OR_RETURN(out.drawn, CudaEvent::Create(health));
    PREFIXD_ASSIGN_OR_RETURN(out.copied, CudaEvent::Create(health));
  }
  return draws;
}

absl::Status CudaDraws::Reserve(const DeviceMatrix& logits, size_t num_draws, Out* out) {
  const size_t size = num_draws * sizeof(DrawResult);
  PREFIXD_RETURN_IF_ERROR(out->device.Ensure(std::bit_ceil(size), memory_).status());
  if (out->host.size_bytes() < size) {
    PREFIXD_ASSIGN_OR_RETURN(out->host, PinnedBuffer::Create(std::bit_ceil(size)));
  }
  PREFIXD_RETURN_IF_ERROR(
      scratch_.Ensure(num_draws * static_cast<size_t>(logits.cols) * sizeof(float), memory_)
          .status());
  if (tokens_.size_bytes() >= num_draws * sizeof(int32_t)) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(tokens_,
                           memory_->Allocate(std::bit_ceil(num_draws) * sizeof(int32_t),
                                             DeviceMemory::Content::kZero, "drawn tokens"));
  return absl::OkStatus();
}

void CudaDraws::Pack(absl::Span<const TokenDraw> draws) {
  std::vector<DrawRow> rows;
  std::vector<int32_t> bias_ids, count_ids, count_generated, suppressed;
  std::vector<float> bias_values;
  const auto size = [](const auto& values) { return static_cast<int32_t>(values.size()); };
  for (const TokenDraw& draw : draws) {
    const DrawParams& params = draw.params;
    rows.push_back({.logits_row = draw.logits_row,
                    .forced = draw.forced,
                    .num_logprobs = std::min(draw.num_logprobs, kMaxRanked),
                    .temperature = params.temperature,
                    .top_p = params.top_p,
                    .min_p = params.min_p,
                    .repetition_penalty = params.repetition_penalty,
                    .presence_penalty = params.presence_penalty,
                    .frequency_penalty = params.frequency_penalty,
                    .top_k = params.top_k,
                    .seed = params.seed,
                    .step = params.step,
                    .choice = params.choice,
                    .bias_begin = size(bias_ids),
                    .bias_count = size(draw.logit_bias),
                    .counts_begin = size(count_ids),
                    .counts_count = size(draw.counts),
                    .suppressed_begin = size(suppressed),
                    .suppressed_count = size(draw.suppressed)});
    for (const auto& [id, value] : draw.logit_bias) {
      bias_ids.push_back(id);
      bias_values.push_back(value);
    }
    for (const CountedToken& token : draw.counts) {
      count_ids.push_back(token.id);
      count_generated.push_back(token.generated);
    }
    suppressed.insert(suppressed.end(), draw.suppressed.begin(), draw.suppressed.end());
  }
  pack_.Clear();
  rows_ = pack_.Add(rows);
  bias_ids_ = pack_.Add(bias_ids);
  bias_values_ = pack_.Add(bias_values);
  count_ids_ = pack_.Add(count_ids);
  count_generated_ = pack_.Add(count_generated);
  suppressed_ = pack_.Add(suppressed);
}

absl::StatusOr<uint64_t> CudaDraws::Draw(const DeviceMatrix& logits,
                                         absl::Span<const TokenDraw> draws) {
  for (const TokenDraw& draw : draws) {
    PREFIXD_CHECK(draw.logits_row >= 0 && draw.logits_row < logits.rows);
  }
  Out& out = outs_[(last_ticket_ + 1) % kInFlight];
  PREFIXD_CHECK(!out.pending);
  out.num_ranked.clear();
  for (const TokenDraw& draw : draws) {
    const int64_t most = std::min<int64_t>(logits.cols, kMaxRanked);
    out.num_ranked.push_back(static_cast<int32_t>(std::min<int64_t>(draw.num_logprobs, most)));
  }
  if (!draws.empty()) {
    PREFIXD_RETURN_IF_ERROR(Reserve(logits, draws.size(), &out));
    Pack(draws);
    PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, ring_->Send(pack_.bytes()));
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const scratch, scratch_.Ensure(0, memory_));
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const results, out.device.Ensure(0, memory_));
    PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({logits.data}));
    const DrawLists lists = {.bias_ids = ArrayAt<int32_t>(base, bias_ids_),
                             .bias_values = ArrayAt<float>(base, bias_values_),
                             .count_ids = ArrayAt<int32_t>(base, count_ids_),
                             .count_generated = ArrayAt<int32_t>(base, count_generated_),
                             .suppressed = ArrayAt<int32_t>(base, suppressed_)};
    PREFIXD_RETURN_IF_ERROR(health_->Check(
        LaunchDrawTokens(logits, ArrayAt<DrawRow>(base, rows_), static_cast<int32_t>(draws.size()),
                         lists, reinterpret_cast<float*>(scratch),
                         reinterpret_cast<int32_t*>(tokens_.data()),
                         reinterpret_cast<DrawResult*>(results), stream),
        "drawing tokens"));
    PREFIXD_RETURN_IF_ERROR(streams_->Order(stream, streams_->copy_out(), out.drawn));
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaMemcpyAsync(out.host.data(), results, draws.size() * sizeof(DrawResult),
                                       cudaMemcpyDeviceToHost, streams_->copy_out()),
                       "copying drawn tokens"));
  }
  PREFIXD_RETURN_IF_ERROR(health_->Check(cudaEventRecord(out.copied.get(), streams_->copy_out()),
                                         "recording an event"));
  out.pending = true;
  num_tokens_ = static_cast<int32_t>(draws.size());
  return ++last_ticket_;
}

absl::Status CudaDraws::Take(uint64_t ticket, std::vector<DrawnToken>* drawn) {
  PREFIXD_CHECK(ticket == last_taken_ + 1 && ticket <= last_ticket_);
  Out& out = outs_[ticket % kInFlight];
  ++last_taken_;
  out.pending = false;
  drawn->clear();
  PREFIXD_RETURN_IF_ERROR(
      health_->Check(cudaEventSynchronize(out.copied.get()), "waiting for drawn tokens"));
  const auto* const results = reinterpret_cast<const DrawResult*>(out.host.data());
  for (size_t i = 0; i < out.num_ranked.size(); ++i) {
    DrawnToken& token = drawn->emplace_back();
    token.token = results[i].token;
    if (token.token < 0 || out.num_ranked[i] < 0) continue;
    token.sampled = RankedOf(results[i].sampled);
    for (int32_t r = 0; r < out.num_ranked[i]; ++r) {
      token.top.push_back(RankedOf(results[i].top[r]));
    }
  }
  return absl::OkStatus();
}

}  // namespace prefixd::cuda
