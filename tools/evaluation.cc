#include "tools/evaluation.h"

#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tools/rouge.h"

namespace prefixd {
namespace {

constexpr size_t kTasksPerSetting = 2;  // Forced, greedy.

// Both measurements of one sample under one setting.
struct Pair {
  Measured forced, greedy;
};

// A sample's measurements as they come: the full cache, then the settings.
struct OpenSample {
  std::vector<Pair> pairs;
  size_t missing = 0;
};

// Sums over samples, taken in order of the samples.
class RowSums {
 public:
  void Add(const Pair& pair, const Pair& full) {
    ++samples_;
    for (const double logprob : pair.forced.logprobs) nll_ -= logprob;
    answer_tokens_ += static_cast<int64_t>(pair.forced.logprobs.size());
    for (size_t i = 0; i < pair.forced.most_likely.size(); ++i) {
      agreements_ += pair.forced.most_likely[i] == full.forced.most_likely[i] ? 1 : 0;
    }
    generated_tokens_ += static_cast<int64_t>(pair.greedy.token_ids.size());
    rouge_ += RougeL(absl::StripAsciiWhitespace(pair.greedy.text),
                     absl::StripAsciiWhitespace(full.greedy.text))
                  .f;
    score_mass_ += pair.forced.score_mass;
    AddKept(pair.forced);
  }

  EvaluationRow Row(const RetentionSetting& setting) const {
    const auto samples = static_cast<double>(samples_);
    const auto tokens = static_cast<double>(answer_tokens_);
    EvaluationRow row{.setting = setting,
                      .answer_tokens = answer_tokens_,
                      .generated_tokens = generated_tokens_,
                      .perplexity = std::exp(nll_ / tokens),
                      .rouge_l = rouge_ / samples,
                      .kept_share = kept_share_ / samples,
                      .score_mass = score_mass_ / samples,
                      .agreement = static_cast<double>(agreements_) / tokens};
    for (const double sum : kept_by_layer_) {
      row.kept_by_layer.push_back((sum + static_cast<double>(unselected_)) / samples);
    }
    return row;
  }

 private:
  void AddKept(const Measured& measured) {
    const std::vector<int32_t>& kept = measured.kept_tokens;
    if (kept.empty()) {  // Everything is there.
      ++unselected_;
      kept_share_ += 1;
      return;
    }
    kept_by_layer_.resize(kept.size());
    double sum = 0;
    for (size_t layer = 0; layer < kept.size(); ++layer) {
      const double share = static_cast<double>(kept[layer]) / measured.selected_from;
      kept_by_layer_[layer] += share;
      sum += share;
    }
    kept_share_ += sum / static_cast<double>(kept.size());
  }

  int64_t samples_ = 0, answer_tokens_ = 0, agreements_ = 0, generated_tokens_ = 0;
  int64_t unselected_ = 0;  // Samples of which nothing was dropped.
  double nll_ = 0, rouge_ = 0, kept_share_ = 0, score_mass_ = 0;
  std::vector<double> kept_by_layer_;
};

}  // namespace

absl::StatusOr<Evaluation> Evaluate(size_t num_samples, absl::Span<const RetentionSetting> settings,
                                    Measurer* measurer,
                                    absl::FunctionRef<void(size_t, size_t)> progress) {
  PREFIXD_CHECK(num_samples > 0);
  const RetentionSetting full;
  std::vector<const RetentionSetting*> all = {&full};
  for (const RetentionSetting& setting : settings) all.push_back(&setting);

  // Sample by sample: what the settings share of a prompt is still cached then.
  std::vector<MeasureTask> tasks;
  for (size_t sample = 0; sample < num_samples; ++sample) {
    for (const RetentionSetting* setting : all) {
      tasks.push_back({.sample = sample, .kind = MeasureKind::kForced, .setting = setting});
      tasks.push_back({.sample = sample, .kind = MeasureKind::kGreedy, .setting = setting});
    }
  }

  std::vector<RowSums> sums(all.size());
  std::map<size_t, OpenSample> open;  // Samples that are not summed yet.
  size_t next_sample = 0;             // The first of them.
  size_t num_done = 0;
  const auto take = [&](size_t index, Measured measured) {
    OpenSample& sample = open[tasks[index].sample];
    if (sample.pairs.empty()) {
      sample.pairs.resize(all.size());
      sample.missing = kTasksPerSetting * all.size();
    }
    Pair& pair = sample.pairs[index / kTasksPerSetting % all.size()];
    (tasks[index].kind == MeasureKind::kForced ? pair.forced : pair.greedy) = std::move(measured);
    --sample.missing;
    for (auto first = open.begin();
         first != open.end() && first->first == next_sample && first->second.missing == 0;
         first = open.erase(first), ++next_sample) {
      const std::vector<Pair>& pairs = first->second.pairs;
      for (size_t i = 0; i < pairs.size(); ++i) sums[i].Add(pairs[i], pairs[0]);
    }
    progress(++num_done, tasks.size());
    return absl::OkStatus();
  };
  progress(0, tasks.size());
  PREFIXD_RETURN_IF_ERROR(measurer->Run(tasks, take));
  PREFIXD_CHECK(next_sample == num_samples);

  Evaluation evaluation{.full = sums[0].Row(full)};
  for (size_t i = 0; i < settings.size(); ++i) {
    evaluation.rows.push_back(sums[i + 1].Row(settings[i]));
  }
  return evaluation;
}

}  // namespace prefixd
