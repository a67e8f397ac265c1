#include "engine/kv_compressor.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"

namespace prefixd {

absl::StatusOr<SlotScores> KvCompressor::NewScores(int32_t slots) const {
  SlotScores scores;
  PREFIXD_ASSIGN_OR_RETURN(scores.sums, backend_.NewScores(cache_.num_layers(), slots));
  for (int i = 0; i < cache_.num_layers(); ++i) {
    scores.layers.push_back(scores.sums.view.Rows(i, 1));
  }
  return scores;
}

absl::StatusOr<std::vector<float>> KvCompressor::Read(const SlotScores& scores,
                                                      int32_t slots) const {
  std::vector<float> values(static_cast<size_t>(cache_.num_layers()) * static_cast<size_t>(slots));
  PREFIXD_RETURN_IF_ERROR(
      backend_.Download(scores.sums.view.Cols(0, slots), absl::MakeSpan(values)));
  return values;
}

absl::Status KvCompressor::Write(const std::vector<float>& values, int32_t slots,
                                 SlotScores* scores) const {
  return backend_.Upload(values, scores->sums.view.Cols(0, slots));
}

absl::Status KvCompressor::Compress(const std::vector<LayerSelection>& selection,
                                    KvSequence* sequence) {
  PREFIXD_CHECK(selection.size() == static_cast<size_t>(cache_.num_layers()));
  for (int layer = 0; layer < cache_.num_layers(); ++layer) {
    PREFIXD_RETURN_IF_ERROR(CompressLayer(layer, selection[layer], sequence));
  }
  cache_.FinishCompress(sequence);
  return absl::OkStatus();
}

absl::Status KvCompressor::CompressLayer(int layer, const LayerSelection& selection,
                                         KvSequence* sequence) {
  const LayerTable old = cache_.Compress(layer, selection.kept, sequence);
  if (PREFIXD_PLANTED(kGatherDropped)) return absl::OkStatus();
  SlotGather gather{.source_pages = old.page_ids(),
                    .sources = selection.kept,
                    .destination_pages = sequence->layer(layer).page_ids()};
  if (!selection.merged_into.empty() && !PREFIXD_PLANTED(kMergeDropped)) {
    PREFIXD_CHECK(selection.merged_into.size() == static_cast<size_t>(old.length()));
    // Positions sorted by what they are averaged into, ascending within.
    const auto into = [&selection](int32_t position) { return selection.merged_into[position]; };
    sources_.resize(static_cast<size_t>(old.length()));
    std::iota(sources_.begin(), sources_.end(), 0);
    std::stable_sort(sources_.begin(), sources_.end(),
                     [into](int32_t a, int32_t b) { return into(a) < into(b); });
    first_source_.clear();
    for (int32_t i = 0; i < old.length(); ++i) {
      if (i == 0 || into(sources_[i]) != into(sources_[i - 1])) first_source_.push_back(i);
    }
    first_source_.push_back(old.length());
    PREFIXD_CHECK(first_source_.size() == selection.kept.size() + 1);
    gather.sources = sources_;
    gather.first_source = first_source_;
  }
  // The old pages go back when this returns: what overwrites them is queued behind the move.
  return backend_.GatherSlots({&gather, 1}, &pool_);
}

absl::StatusOr<int32_t> KvCompressor::Drop(const RetentionRecipe& recipe, const SlotScores& scores,
                                           KvSequence* sequence) {
  switch (recipe.policy->victim_rule()) {
    case VictimRule::kNone:
      return 0;
    case VictimRule::kOldest:
      return cache_.DropOldest(sequence);
    case VictimRule::kLowestScore:
      break;
  }
  if (KvCache::DropsDue(*sequence, 0) < 1) return 0;
  PREFIXD_ASSIGN_OR_RETURN(const int32_t slot, LowestSlot(recipe, scores, *sequence));
  return slot < 0 ? 0 : cache_.DropSlot(slot, sequence);
}

// Of the mean over the layers; neither a starting token nor the newest. Ties: the lower position.
absl::StatusOr<int32_t> KvCompressor::LowestSlot(const RetentionRecipe& recipe,
                                                 const SlotScores& scores,
                                                 const KvSequence& sequence) const {
  const absl::Span<const int32_t> positions = sequence.layer(0).positions();
  const int32_t num_slots = static_cast<int32_t>(positions.size());
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<float> sums, Read(scores, num_slots));
  int32_t lowest = -1;
  double least = 0;
  for (int32_t slot = 0; slot < num_slots; ++slot) {
    if (positions[slot] < recipe.start_size) continue;
    if (positions[slot] == sequence.next_position() - 1) continue;
    double score = 0;
    for (int layer = 0; layer < cache_.num_layers(); ++layer) {
      score += sums[static_cast<size_t>(layer) * positions.size() + static_cast<size_t>(slot)];
    }
    const bool lower =
        lowest < 0 || score < least || (score == least && positions[slot] < positions[lowest]);
    if (!lower) continue;
    lowest = slot;
    least = score;
  }
  return lowest;
}

}  // namespace prefixd
