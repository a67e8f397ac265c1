#include "engine/shadow_replay.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/host_draw.h"
#include "engine/run_forward.h"

namespace prefixd {
namespace {

constexpr int32_t kMaxLogitRows = 32;  // Of a piece: their logits are downloaded.

}  // namespace

bool ShadowReplay::Add(ServedOutput output) {
  PREFIXD_CHECK(!output.tokens.empty());
  if (queue_.size() >= kMaxQueued) return false;
  queue_.push_back(std::move(output));
  return true;
}

size_t ShadowReplay::Clear() {
  Yield();
  const size_t dropped = queue_.size();
  queue_.clear();
  return dropped;
}

void ShadowReplay::Yield() {
  kv_.reset();
  features_.clear();
  encoding_.reset();
  comparison_ = {};
}

void ShadowReplay::Finish() {
  Yield();
  queue_.pop_front();
}

// The last token is never fed.
int32_t ShadowReplay::num_rows() const {
  const ServedOutput& output = queue_.front();
  return static_cast<int32_t>(output.prompt.token_ids.size() + output.tokens.size()) - 1;
}

absl::StatusOr<std::optional<GuardComparison>> ShadowReplay::Step() {
  PREFIXD_CHECK(has_work());
  const ServedOutput& output = queue_.front();
  if (!kv_) kv_.emplace(cache_.num_layers(), output.tenant);
  const int32_t begin = kv_->next_position();
  int32_t end = num_rows();
  const size_t image = features_.size();
  const bool whole = model_.spec().sharing == Sharing::kWholePrefix && begin == 0;
  if (image < output.prompt.images.size()) {
    end = whole ? 0 : output.prompt.images[image].row_begin;
  }
  absl::Status status;
  if (begin == end) {
    status = EncodeSome(image);
  } else {
    // Rows from the last of the prompt on have logits.
    const int32_t first_logit = static_cast<int32_t>(output.prompt.token_ids.size()) - 1;
    int32_t count = std::min(end - begin, limits_.max_batch_rows);
    count = std::min(
        count, std::max(first_logit - begin, 0) + std::min(kMaxLogitRows, limits_.max_logit_rows));
    if (whole) count = first_logit + 1;  // In one pass.
    status = ComputeRows(count);
  }
  if (!status.ok()) {
    Finish();
    return status;
  }
  if (kv_->next_position() < num_rows()) return std::optional<GuardComparison>();
  const GuardComparison comparison = comparison_;
  Finish();
  return std::optional<GuardComparison>(comparison);
}

absl::Status ShadowReplay::EncodeSome(size_t image) {
  if (encoding_ == nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(encoding_,
                             model_.StartImage(*queue_.front().prompt.images[image].pixels));
  }
  if (encoding_->steps_left() > 0) PREFIXD_RETURN_IF_ERROR(encoding_->Step());
  if (encoding_->steps_left() > 0) return absl::OkStatus();
  features_.push_back(encoding_->TakeFeatures());
  encoding_.reset();
  return absl::OkStatus();
}

absl::Status ShadowReplay::ComputeRows(int32_t count) {
  const ServedOutput& output = queue_.front();
  const int32_t prompt_rows = static_cast<int32_t>(output.prompt.token_ids.size());
  const int32_t begin = kv_->next_position();
  const bool whole = model_.spec().sharing == Sharing::kWholePrefix && begin == 0;
  const KvSequence* const alive[] = {&*kv_};
  cache_.BeginRound(alive);
  if (cache_.Reserve(output.tenant, cache_.PagesToAppend(*kv_, count)) != KvCache::Room::kGranted) {
    return absl::ResourceExhaustedError("no pages for a replay");
  }
  KvCache::Placement placement;
  PREFIXD_CHECK(cache_.Append(&*kv_, count, &placement));

  std::vector<int32_t> ids, positions, logit_rows;
  for (int32_t row = begin; row < begin + count; ++row) {
    ids.push_back(row < prompt_rows ? output.prompt.token_ids[row]
                                    : output.tokens[row - prompt_rows].token);
    positions.push_back(row);
    if (row >= prompt_rows - 1) logit_rows.push_back(row - begin);
  }
  std::vector<FeatureRows> features;
  std::vector<MediaRows> media;
  const bool cross = model_.spec().image && model_.spec().image->cross_attended;
  for (size_t i = 0; i < features_.size(); ++i) {
    const PromptImage& image = output.prompt.images[i];
    if (cross) {
      const bool last = i + 1 == output.prompt.images.size();
      const int32_t from = std::max(begin, image.row_begin);
      const int32_t to =
          last ? begin + count : std::min(begin + count, output.prompt.images[i + 1].row_begin);
      if (from < to) media.push_back({from - begin, to - from, features_[i].view});
      continue;
    }
    const int32_t from = std::max(begin, image.row_begin);
    const int32_t to = std::min(begin + count, image.row_end());
    if (from >= to) continue;
    features.push_back({.row_begin = from - begin,
                        .count = to - from,
                        .features = features_[i].view,
                        .feature_begin = from - image.row_begin});
  }
  std::vector<KvSegment> segments;
  for (int layer = 0; layer < cache_.num_layers(); ++layer) {
    segments.push_back({.row_begin = 0,
                        .num_rows = count,
                        .pages = kv_->layer(layer).page_ids(),
                        .write_slots = placement.write_slots[layer],
                        .first_visible = placement.first_visible[layer],
                        .visible_prefix = whole ? prompt_rows : 0,
                        .first_position = begin});
  }
  std::vector<absl::Span<const KvSegment>> layers;
  for (const KvSegment& segment : segments) layers.emplace_back(&segment, 1);
  if (logits_.view.rows == 0) {
    const int32_t rows = std::min(kMaxLogitRows, limits_.max_logit_rows);
    PREFIXD_ASSIGN_OR_RETURN(logits_, backend_.NewTensor(rows, model_.spec().vocab_size));
    host_logits_.resize(static_cast<size_t>(model_.spec().vocab_size));
  }
  const int32_t num_logits = static_cast<int32_t>(logit_rows.size());
  PREFIXD_RETURN_IF_ERROR(RunForward({.token_ids = ids,
                                      .positions = positions,
                                      .features = features,
                                      .media = media,
                                      .logit_rows = logit_rows},
                                     {.pool = &pool_, .layers = layers}, /*decodes_only=*/false,
                                     &backend_, &model_, logits_.view.Rows(0, num_logits)));
  return Compare(begin + count - num_logits, num_logits);
}

// Of the last `num_logits` rows that were computed, the first of which is row `first_row`.
absl::Status ShadowReplay::Compare(int32_t first_row, int32_t num_logits) {
  const ServedOutput& output = queue_.front();
  const int32_t prompt_rows = static_cast<int32_t>(output.prompt.token_ids.size());
  for (int32_t i = 0; i < num_logits; ++i) {
    PREFIXD_RETURN_IF_ERROR(
        backend_.Download(logits_.view.Rows(i, 1), absl::MakeSpan(host_logits_)));
    const ServedToken& served = output.tokens[first_row + i - prompt_rows + 1];
    DrawnToken full;
    RankTokens(host_logits_, served.token, 1, &full);
    ++comparison_.tokens;
    comparison_.agreements += full.top[0].id == served.most_likely ? 1 : 0;
    comparison_.logprob_drift +=
        std::fabs(static_cast<double>(full.sampled.logprob) - static_cast<double>(served.logprob));
  }
  return absl::OkStatus();
}

}  // namespace prefixd
