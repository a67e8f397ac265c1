#include "engine/model_runner.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/prefix_sharing.h"

namespace prefixd {
namespace {

// A slot that the next token takes over holds nothing any more.
int32_t LiveSlots(const LayerTable& layer) {
  return layer.length() - (layer.free_slot() >= 0 ? 1 : 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Create(
    Backend* backend, Model* model, KvPool* pool, KvCache* cache, const ModelLimits& limits,
    std::vector<int32_t> never_sampled) {
  auto runner = std::unique_ptr<ModelRunner>(
      new ModelRunner(backend, model, pool, cache, std::move(never_sampled)));
  PREFIXD_ASSIGN_OR_RETURN(runner->logits_,
                           backend->NewTensor(limits.max_logit_rows, model->spec().vocab_size));
  runner->host_logits_.resize(static_cast<size_t>(model->spec().vocab_size));
  return runner;
}

ModelRunner::ModelRunner(Backend* backend, Model* model, KvPool* pool, KvCache* cache,
                         std::vector<int32_t> never_sampled)
    : backend_(backend),
      model_(model),
      pool_(pool),
      cache_(cache),
      never_sampled_(std::move(never_sampled)),
      segments_(static_cast<size_t>(cache->num_layers())),
      layer_spans_(static_cast<size_t>(cache->num_layers())) {}

absl::Status ModelRunner::Run(const StepPlan& plan, StepResult* result) {
  result->samples.clear();
  result->failures.clear();
  result->features.clear();
  for (const ImagePiece& piece : plan.images) RunImage(piece, result);
  for (const DecodeRow& decode : plan.decodes) {
    PREFIXD_RETURN_IF_ERROR(ClearScoreOfFreeSlot(decode));
  }
  BuildBatch(plan);
  if (!token_ids_.empty()) {
    PREFIXD_RETURN_IF_ERROR(CopyPages());
    PREFIXD_RETURN_IF_ERROR(Forward());
    for (const PrefillPiece& piece : plan.prefills) FinishPrefill(piece);
    PREFIXD_RETURN_IF_ERROR(SampleRows(result));
  }
  PREFIXD_RETURN_IF_ERROR(backend_->Synchronize());
  ++completed_steps_;
  return absl::OkStatus();
}

void ModelRunner::RunImage(const ImagePiece& piece, StepResult* result) {
  if (absl::Status status = StepImage(piece, result); !status.ok()) {
    result->failures.emplace_back(piece.request, std::move(status));
  }
}

absl::Status ModelRunner::StepImage(const ImagePiece& piece, StepResult* result) {
  ActiveRequest* const request = piece.request;
  if (request->encoding == nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(request->encoding,
                             model_->StartImage(*request->prompt.images[piece.image].pixels));
    request->encoding_image = piece.image;
  }
  PREFIXD_CHECK(request->encoding_image == piece.image);
  for (int i = 0; i < piece.num_steps; ++i) PREFIXD_RETURN_IF_ERROR(request->encoding->Step());
  if (request->encoding->steps_left() == 0) {
    result->features.emplace_back(
        request, std::make_shared<const OwnedTensor>(request->encoding->TakeFeatures()));
    request->encoding.reset();
  }
  return absl::OkStatus();
}

void ModelRunner::BuildBatch(const StepPlan& plan) {
  token_ids_.clear();
  positions_.clear();
  logit_rows_.clear();
  features_.clear();
  sources_.clear();
  for (std::vector<KvSegment>& layer : segments_) layer.clear();
  num_sequences_ = 0;
  // Placements must not move while segments point into them.
  const size_t num_sequences = plan.decodes.size() + plan.prefills.size();
  if (placements_.size() < num_sequences) placements_.resize(num_sequences);
  for (const DecodeRow& decode : plan.decodes) AddDecode(decode);
  for (const PrefillPiece& piece : plan.prefills) AddPrefill(piece);
}

void ModelRunner::AddDecode(const DecodeRow& decode) {
  Sequence* const sequence = decode.sequence;
  const int32_t row = static_cast<int32_t>(token_ids_.size());
  const InputToken& input = sequence->next_input;
  token_ids_.push_back(input.sample_row >= 0 ? sample_buffer_[input.sample_row] : input.token);
  positions_.push_back(decode.request->retention.recipe.reference_positions
                           ? LiveSlots(sequence->kv.layer(0))
                           : sequence->kv.next_position());
  AddKv(&sequence->kv, sequence->scores.empty() ? nullptr : &sequence->scores, 0, row, 1);
  sources_.push_back({decode.request, sequence, static_cast<int32_t>(logit_rows_.size())});
  logit_rows_.push_back(row);
}

void ModelRunner::AddPrefill(const PrefillPiece& piece) {
  ActiveRequest* const request = piece.request;
  KvSequence* const kv = &piece.sequence->kv;
  const int32_t row_begin = static_cast<int32_t>(token_ids_.size());
  for (int32_t i = 0; i < piece.num_rows; ++i) {
    token_ids_.push_back(piece.sequence->tokens[kv->next_position() + i]);
    positions_.push_back(kv->next_position() + i);
  }
  AddFeatures(piece, row_begin);
  const bool scored = request->retention.scores_prompt();
  const int32_t first_summed = std::max(0, request->retention.first_summed() - kv->next_position());
  AddKv(kv, scored ? &piece.sequence->scores : nullptr, first_summed, row_begin, piece.num_rows);
  if (!piece.samples) return;
  const int32_t logits_row = static_cast<int32_t>(logit_rows_.size());
  logit_rows_.push_back(row_begin + piece.num_rows - 1);
  if (!piece.ends_prompt || request->choices.size() == 1) {
    sources_.push_back({request, piece.sequence, logits_row});
    return;
  }
  for (const auto& sequence : request->choices) {
    const bool fresh = !sequence->finished && sequence->generated.empty();
    if (fresh) sources_.push_back({request, sequence.get(), logits_row});
  }
}

// Rows of the piece that lie inside an image take its features.
void ModelRunner::AddFeatures(const PrefillPiece& piece, int32_t row_begin) {
  const ActiveRequest& request = *piece.request;
  const int32_t begin = piece.sequence->kv.next_position();
  const int32_t end = begin + piece.num_rows;
  for (size_t i = 0; i < request.prompt.images.size(); ++i) {
    const PromptImage& image = request.prompt.images[i];
    const int32_t from = std::max(begin, image.row_begin);
    const int32_t to = std::min(end, image.row_end());
    if (from >= to) continue;
    PREFIXD_CHECK(request.images[i].features != nullptr);
    features_.push_back(
        {.row_begin = row_begin + from - begin,
         .count = to - from,
         .features = request.images[i].features->view,
         .feature_begin = PREFIXD_PLANTED(kChunkSplitsImageWrong) ? 0 : from - image.row_begin});
  }
}

// Gives the rows their slots. The scheduler reserved the pages, so they cannot lack.
void ModelRunner::AddKv(KvSequence* kv, const SlotScores* scores, int32_t first_summed,
                        int32_t row_begin, int32_t num_rows) {
  KvCache::Placement& placement = placements_[num_sequences_++];
  PREFIXD_CHECK(cache_->Append(kv, num_rows, &placement));
  for (size_t layer = 0; layer < segments_.size(); ++layer) {
    segments_[layer].push_back({.row_begin = row_begin,
                                .num_rows = num_rows,
                                .pages = kv->layer(static_cast<int>(layer)).page_ids(),
                                .write_slots = placement.write_slots[layer],
                                .first_visible = placement.first_visible[layer],
                                .sums = scores != nullptr ? &scores->layers[layer] : nullptr,
                                .first_summed_row = first_summed});
  }
}

absl::Status ModelRunner::ClearScoreOfFreeSlot(const DecodeRow& decode) {
  const Sequence& sequence = *decode.sequence;
  if (sequence.scores.empty() || PREFIXD_PLANTED(kSlotKeepsScore)) return absl::OkStatus();
  const float zero = 0.0f;
  for (int layer = 0; layer < sequence.kv.num_layers(); ++layer) {
    const int32_t slot = sequence.kv.layer(layer).free_slot();
    if (slot < 0) continue;
    PREFIXD_RETURN_IF_ERROR(
        backend_->Upload({&zero, 1}, sequence.scores.layers[layer].Cols(slot, 1)));
  }
  return absl::OkStatus();
}

absl::Status ModelRunner::CopyPages() {
  if (cache_->copies().empty()) return absl::OkStatus();
  page_copies_.clear();
  for (const PendingCopy& copy : cache_->copies()) {
    page_copies_.push_back({.source = copy.source, .destination = copy.destination});
  }
  if (!PREFIXD_PLANTED(kCopyDropped)) {
    PREFIXD_RETURN_IF_ERROR(backend_->CopyPages(page_copies_, pool_));
  }
  cache_->ClearCopies();
  return absl::OkStatus();
}

absl::Status ModelRunner::Forward() {
  for (size_t layer = 0; layer < segments_.size(); ++layer) layer_spans_[layer] = segments_[layer];
  const Batch batch{.token_ids = token_ids_,
                    .positions = positions_,
                    .features = features_,
                    .logit_rows = logit_rows_};
  const KvView kv{.pool = pool_, .layers = layer_spans_};
  return model_->Forward(batch, kv, logits_.view.Rows(0, static_cast<int64_t>(logit_rows_.size())));
}

void ModelRunner::FinishPrefill(const PrefillPiece& piece) {
  ActiveRequest* const request = piece.request;
  const int32_t computed = piece.sequence->kv.next_position();
  CountComputed(computed - piece.num_rows, computed, piece.sequence, request);
  for (size_t i = 0; i < request->images.size(); ++i) {
    if (request->prompt.images[i].row_end() <= computed) request->images[i].features = nullptr;
  }
  if (piece.sequence->scores.num_rows == computed - piece.num_rows) {
    piece.sequence->scores.num_rows = computed;
  }
}

absl::Status ModelRunner::SampleRows(StepResult* result) {
  sample_buffer_.clear();
  int32_t downloaded = -1;  // Choices of one request sample from one row.
  for (const SampleSource& source : sources_) {
    if (source.logits_row != downloaded) {
      PREFIXD_RETURN_IF_ERROR(backend_->Download(logits_.view.Rows(source.logits_row, 1),
                                                 absl::MakeSpan(host_logits_)));
      downloaded = source.logits_row;
    }
    SampleOne(source, host_logits_, result);
  }
  return absl::OkStatus();
}

void ModelRunner::SampleOne(const SampleSource& source, absl::Span<const float> logits,
                            StepResult* result) {
  const Sequence& sequence = *source.sequence;
  const Request& request = source.request->request;
  SampledToken sampled{.request = source.request, .sequence = source.sequence};
  const bool forgets = PREFIXD_PLANTED(kResumeForgetsStep) && source.request->recomputed_rows > 0;
  const size_t step = forgets ? 0 : sequence.generated.size();
  if (sequence.is_forced()) {
    sampled.token = sequence.forced_tokens[step];
  } else {
    suppressed_ = never_sampled_;
    const int32_t too_early = PREFIXD_PLANTED(kMinTokensOffByOne) ? 1 : 0;
    if (static_cast<int32_t>(step) + too_early < request.stopping.min_tokens) {
      const auto& eos = model_->spec().generation.eos_token_ids;
      suppressed_.insert(suppressed_.end(), eos.begin(), eos.end());
      const auto& stop = request.stopping.stop_token_ids;
      suppressed_.insert(suppressed_.end(), stop.begin(), stop.end());
    }
    const SampleRow row{
        .params = &request.sampling,
        .seed = source.request->seed,
        .step = static_cast<uint32_t>(step),
        .choice = PREFIXD_PLANTED(kChoiceNotInSampler) ? 0 : static_cast<uint32_t>(sequence.choice),
        .counts = &sequence.counts,
        .suppressed = suppressed_};
    sampled.token = Sample(logits, row, &scratch_);
  }
  if (request.output.logprobs && sampled.token >= 0 && !sequence.was_sent()) {
    sampled.logprobs = Logprobs(logits, sampled.token, *request.output.logprobs);
  }
  if (source.request->guarded && sequence.choice == 0 && sampled.token >= 0 &&
      !sequence.was_sent()) {
    const LogprobEntry entry = Logprobs(logits, sampled.token, 1);
    source.sequence->served.push_back(
        {sampled.token, entry.sampled.logprob, entry.top[0].token_id});
  }
  sample_buffer_.push_back(sampled.token);
  result->samples.push_back(std::move(sampled));
}

}  // namespace prefixd
