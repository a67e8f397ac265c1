#include "engine/model_runner.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/prefix_sharing.h"
#include "engine/run_forward.h"

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
      new ModelRunner(backend, model, pool, cache, limits, std::move(never_sampled)));
  PREFIXD_ASSIGN_OR_RETURN(
      runner->states_,
      backend->NewTensor(limits.max_batch_rows + limits.max_logit_rows, model->spec().hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(runner->logits_,
                           backend->NewTensor(limits.max_logit_rows, model->spec().vocab_size));
  return runner;
}

ModelRunner::ModelRunner(Backend* backend, Model* model, KvPool* pool, KvCache* cache,
                         const ModelLimits& limits, std::vector<int32_t> never_sampled)
    : backend_(backend),
      model_(model),
      pool_(pool),
      cache_(cache),
      limits_(limits),
      never_sampled_(std::move(never_sampled)),
      segments_(static_cast<size_t>(cache->num_layers())),
      layer_spans_(static_cast<size_t>(cache->num_layers())) {}

absl::Status ModelRunner::Launch(const StepPlan& plan, StepResult* result) {
  PREFIXD_CHECK(launched_.size() < static_cast<size_t>(in_flight()));
  launched_.push_back({.number = ++launched_steps_});
  const absl::Status status = Queue(plan, result);
  if (!status.ok()) {
    launched_.pop_back();
    if (launched_.empty()) completed_steps_ = launched_steps_;
  }
  return status;
}

absl::Status ModelRunner::Queue(const StepPlan& plan, StepResult* result) {
  result->failures.clear();
  result->features.clear();
  sources_.clear();
  if (!plan.images.empty()) {
    backend_->SelectQueue(Backend::Queue::kImage);
    for (const ImagePiece& piece : plan.images) RunImage(piece, result);
    backend_->SelectQueue(Backend::Queue::kMain);
  }
  for (const DecodeRow& decode : plan.decodes) {
    PREFIXD_RETURN_IF_ERROR(ClearScoreOfFreeSlot(decode));
  }
  BuildBatch(plan);
  if (!token_ids_.empty()) {
    PREFIXD_RETURN_IF_ERROR(CopyPages());
    PREFIXD_RETURN_IF_ERROR(Forward());
    for (const PrefillPiece& piece : plan.prefills) FinishPrefill(piece);
  }
  PREFIXD_RETURN_IF_ERROR(ScoreTokens(result));
  return DrawTokens();
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
  media_.clear();
  for (std::vector<KvSegment>& layer : segments_) layer.clear();
  num_sequences_ = 0;
  ClearScores();
  // Placements must not move while segments point into them.
  const size_t num_sequences = plan.decodes.size() + plan.prefills.size();
  if (placements_.size() < num_sequences) placements_.resize(num_sequences);
  for (const DecodeRow& decode : plan.decodes) AddDecode(decode);
  for (const PrefillPiece& piece : plan.prefills) AddPrefill(piece);
  if (trees_.size() < plan.scores.size()) trees_.resize(plan.scores.size());
  for (const ScorePiece& piece : plan.scores) AddScores(piece);
  PadDecodes(plan);
}

void ModelRunner::PadDecodes(const StepPlan& plan) {
  const bool summed = std::any_of(plan.decodes.begin(), plan.decodes.end(), [](const auto& decode) {
    return !decode.sequence->scores.empty();
  });
  decodes_only_ = plan.prefills.empty() && plan.scores.empty() && !plan.decodes.empty() &&
                  !summed && media_.empty();
  if (!decodes_only_) return;
  const int32_t rows = backend_->PaddedRows(static_cast<int32_t>(token_ids_.size()));
  if (rows > std::min(limits_.max_batch_rows, limits_.max_logit_rows)) return;
  for (int32_t row = static_cast<int32_t>(token_ids_.size()); row < rows; ++row) {
    token_ids_.push_back(0);
    positions_.push_back(0);
    logit_rows_.push_back(row);
  }
}

void ModelRunner::AddDecode(const DecodeRow& decode) {
  Sequence* const sequence = decode.sequence;
  const int32_t row = static_cast<int32_t>(token_ids_.size());
  const InputToken& input = sequence->next_input;
  token_ids_.push_back(input.sample_row >= 0 ? FromDraw(input.sample_row) : input.token);
  positions_.push_back(decode.request->retention.recipe.reference_positions
                           ? LiveSlots(sequence->kv.layer(0))
                           : sequence->kv.next_position());
  AddMedia(*decode.request, sequence->kv.next_position(), 1, row);
  AddKv(&sequence->kv, {.scores = sequence->scores.empty() ? nullptr : &sequence->scores}, row, 1);
  sources_.push_back({.request = decode.request,
                      .sequence = sequence,
                      .logits_row = static_cast<int32_t>(logit_rows_.size())});
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
  const int32_t begin = kv->next_position();
  AddFeatures(piece, row_begin);
  AddMedia(*request, begin, piece.num_rows, row_begin);
  Attention attention;
  if (request->retention.scores_prompt()) attention.scores = &piece.sequence->scores;
  attention.first_summed = std::max(0, request->retention.first_summed() - begin);
  if (request->whole_prompt && begin < request->prompt_rows()) {
    attention.visible_prefix = request->prompt_rows();
  }
  if (request->scoring) AddPrefillStates(piece, begin, row_begin);
  AddKv(kv, attention, row_begin, piece.num_rows);
  if (!piece.samples) return;
  const int32_t logits_row = static_cast<int32_t>(logit_rows_.size());
  logit_rows_.push_back(row_begin + piece.num_rows - 1);
  if (!piece.ends_prompt || request->choices.size() == 1) {
    sources_.push_back({.request = request, .sequence = piece.sequence, .logits_row = logits_row});
    return;
  }
  for (const auto& sequence : request->choices) {
    const bool fresh = !sequence->finished && sequence->generated.empty();
    if (!fresh) continue;
    sources_.push_back({.request = request, .sequence = sequence.get(), .logits_row = logits_row});
  }
}

// Rows of the piece that lie inside an image take its features.
void ModelRunner::AddFeatures(const PrefillPiece& piece, int32_t row_begin) {
  const ActiveRequest& request = *piece.request;
  if (request.cross_attended) return;
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

// A row sees the last image whose placeholder is not behind it.
void ModelRunner::AddMedia(const ActiveRequest& request, int32_t begin, int32_t num_rows,
                           int32_t row_begin) {
  if (!request.cross_attended) return;
  for (size_t i = 0; i < request.prompt.images.size(); ++i) {
    const int32_t from = std::max(begin, request.prompt.images[i].row_begin);
    const int32_t to = std::min(begin + num_rows, request.features_end(i));
    if (from >= to) continue;
    PREFIXD_CHECK(request.images[i].features != nullptr);
    media_.push_back({.row_begin = row_begin + from - begin,
                      .count = to - from,
                      .features = request.images[i].features->view});
  }
}

// Gives the rows their slots. The scheduler reserved the pages, so they cannot lack.
void ModelRunner::AddKv(KvSequence* kv, const Attention& attention, int32_t row_begin,
                        int32_t num_rows) {
  KvCache::Placement& placement = placements_[num_sequences_++];
  PREFIXD_CHECK(cache_->Append(kv, num_rows, &placement));
  for (size_t layer = 0; layer < segments_.size(); ++layer) {
    segments_[layer].push_back(
        {.row_begin = row_begin,
         .num_rows = num_rows,
         .pages = kv->layer(static_cast<int>(layer)).page_ids(),
         .write_slots = placement.write_slots[layer],
         .first_visible = placement.first_visible[layer],
         .visible_prefix = attention.visible_prefix,
         .first_position = positions_[static_cast<size_t>(row_begin)],
         .sums = attention.scores != nullptr ? &attention.scores->layers[layer] : nullptr,
         .first_summed_row = attention.first_summed});
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
                    .media = media_,
                    .logit_rows = logit_rows_,
                    .state_rows = state_rows_,
                    .states = states_.view.Rows(0, static_cast<int64_t>(state_rows_.size()))};
  const KvView kv{.pool = pool_, .layers = layer_spans_};
  return RunForward(batch, kv, decodes_only_, backend_, model_,
                    logits_.view.Rows(0, static_cast<int64_t>(logit_rows_.size())));
}

void ModelRunner::FinishPrefill(const PrefillPiece& piece) {
  ActiveRequest* const request = piece.request;
  const int32_t computed = piece.sequence->kv.next_position();
  CountComputed(computed - piece.num_rows, computed, piece.sequence, request);
  for (size_t i = 0; i < request->images.size(); ++i) {
    const bool needed = request->features_end(i) > computed || request->request.recompute_all;
    if (!needed) request->images[i].features = nullptr;
  }
  if (piece.sequence->scores.num_rows == computed - piece.num_rows) {
    piece.sequence->scores.num_rows = computed;
  }
}

absl::Status ModelRunner::DrawTokens() {
  if (sources_.empty()) return absl::OkStatus();
  draws_.clear();
  suppressed_.clear();
  for (SampleSource& source : sources_) draws_.push_back(DrawFor(&source));
  LaunchedStep& step = launched_.back();
  PREFIXD_ASSIGN_OR_RETURN(step.ticket, backend_->DrawTokens(logits_.view, draws_));
  for (size_t i = 0; i < sources_.size(); ++i) {
    ++sources_[i].sequence->draws_out;
    sources_[i].sequence->next_input = {.sample_row = static_cast<int32_t>(i)};
  }
  step.sources = sources_;
  return absl::OkStatus();
}

TokenDraw ModelRunner::DrawFor(SampleSource* source) {
  const Sequence& sequence = *source->sequence;
  const Request& request = source->request->request;
  const bool forgets = PREFIXD_PLANTED(kResumeForgetsStep) && source->request->recomputed_rows > 0;
  const size_t index = sequence.next_index();
  const size_t step = forgets ? 0 : index;
  absl::Span<const int32_t> suppressed = never_sampled_;
  const int32_t too_early = PREFIXD_PLANTED(kMinTokensOffByOne) ? 1 : 0;
  if (static_cast<int32_t>(step) + too_early < request.stopping.min_tokens) {
    std::vector<int32_t>& list = suppressed_.emplace_back(never_sampled_);
    const auto& eos = model_->spec().generation.eos_token_ids;
    list.insert(list.end(), eos.begin(), eos.end());
    const auto& stop = request.stopping.stop_token_ids;
    list.insert(list.end(), stop.begin(), stop.end());
    suppressed = list;
  }
  TokenDraw draw = DrawOf(
      {.params = &request.sampling,
       .seed = source->request->seed,
       .step = static_cast<uint32_t>(step),
       .choice = PREFIXD_PLANTED(kChoiceNotInSampler) ? 0 : static_cast<uint32_t>(sequence.choice),
       .counts = &sequence.counts,
       .suppressed = suppressed});
  draw.logits_row = source->logits_row;
  if (sequence.is_forced(index)) draw.forced = sequence.forced_tokens[step];
  const bool fresh = !sequence.was_sent(index);
  source->wants_logprobs = request.output.logprobs && fresh;
  source->watched = source->request->guarded && sequence.choice == 0 && fresh;
  if (source->wants_logprobs) draw.num_logprobs = *request.output.logprobs;
  if (source->watched) draw.num_logprobs = std::max(draw.num_logprobs, 1);
  if (source->request->beams) draw.num_logprobs = kBeamCandidates;
  return draw;
}

// What may follow a beam, best first.
std::vector<BeamSearch::Candidate> ModelRunner::CandidatesOf(const ActiveRequest& request,
                                                             const DrawnToken& drawn) const {
  const auto contains = [](const std::vector<int32_t>& ids, int32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  const StoppingParams& stopping = request.request.stopping;
  const bool too_early =
      static_cast<int32_t>(request.first().generated.size()) < stopping.min_tokens;
  std::vector<BeamSearch::Candidate> candidates;
  for (const RankedToken& token : drawn.top) {
    const bool ends = contains(model_->spec().generation.eos_token_ids, token.id) ||
                      contains(stopping.stop_token_ids, token.id);
    if (contains(never_sampled_, token.id) || (too_early && ends)) continue;
    candidates.push_back({token.id, token.logprob});
  }
  return candidates;
}

absl::Status ModelRunner::Collect(std::vector<SampledToken>* samples) {
  samples->clear();
  PREFIXD_CHECK(!launched_.empty());
  const LaunchedStep step = std::move(launched_.front());
  launched_.pop_front();
  completed_steps_ = launched_.empty() ? launched_steps_ : step.number;
  for (const SampleSource& source : step.sources) {
    if (source.sequence != nullptr) --source.sequence->draws_out;
  }
  if (step.sources.empty()) return backend_->Synchronize();
  PREFIXD_RETURN_IF_ERROR(backend_->TakeDraws(step.ticket, &drawn_));
  PREFIXD_CHECK(drawn_.size() == step.sources.size());
  for (size_t i = 0; i < drawn_.size(); ++i) {
    const SampleSource& source = step.sources[i];
    DrawnToken& drawn = drawn_[i];
    if (source.sequence == nullptr) continue;
    if (PREFIXD_PLANTED(kNanIsSampled)) drawn.token = std::max(drawn.token, 0);
    SampledToken sampled{
        .request = source.request, .sequence = source.sequence, .token = drawn.token};
    if (drawn.token >= 0 && source.watched) {
      source.sequence->served.push_back({drawn.token, drawn.sampled.logprob, drawn.top.at(0).id});
    }
    if (drawn.token >= 0 && source.wants_logprobs) {
      drawn.top.resize(std::min(drawn.top.size(),
                                static_cast<size_t>(*source.request->request.output.logprobs)));
      sampled.logprobs = LogprobsOf(drawn);
    }
    if (source.request->beams) sampled.candidates = CandidatesOf(*source.request, drawn);
    samples->push_back(std::move(sampled));
  }
  return absl::OkStatus();
}

void ModelRunner::Forget(const Sequence* sequence) {
  for (LaunchedStep& step : launched_) {
    for (SampleSource& source : step.sources) {
      if (source.sequence == sequence) source.sequence = nullptr;
    }
  }
}

std::vector<ActiveRequest*> ModelRunner::Awaiting() const {
  std::vector<ActiveRequest*> requests;
  for (const LaunchedStep& step : launched_) {
    for (const SampleSource& source : step.sources) {
      if (source.sequence != nullptr) requests.push_back(source.request);
    }
  }
  return requests;
}

}  // namespace prefixd
