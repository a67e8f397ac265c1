#include "tools/classification_evaluation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr size_t kMaxImageBytes = 16 << 20;

// What has ended. Thread-safe.
template <typename T>
class Ended {
 public:
  void Push(T value) {
    MutexLock lock(&mutex_);
    values_.push_back(std::move(value));
  }
  // Waits for one.
  T Pop() {
    MutexLock lock(&mutex_);
    mutex_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !values_.empty(); });
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  Mutex mutex_;
  std::deque<T> values_ ABSL_GUARDED_BY(mutex_);
};

struct Ranked {
  size_t sample = 0;
  absl::StatusOr<ClassifyResult> result;
};

std::string RequestId(size_t sample) { return absl::StrCat("evaluate-", sample); }

absl::Status Named(const ClassificationData& data, size_t sample, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(data.samples[sample].id, ": ", status.message()));
}

absl::StatusOr<ClassQuery> QueryOf(const LabelledPicture& picture) {
  ClassQuery query{.text = picture.text};
  if (!picture.image.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadFile(picture.image, kMaxImageBytes));
    query.image = ImagePart{.bytes = std::move(bytes)};
  }
  return query;
}

absl::StatusOr<ClassificationRecord> RecordOf(const ClassificationData& data, size_t sample,
                                              const ClassifyResult& result) {
  const size_t num_names = data.names.size();
  if (result.scores.size() != num_names || result.probabilities.size() != num_names ||
      result.top.empty()) {
    return absl::InternalError(absl::StrCat(result.scores.size(), " scores and ",
                                            result.probabilities.size(), " probabilities for ",
                                            num_names, " names"));
  }
  for (const double score : result.scores) {
    if (std::isnan(score)) return absl::InternalError("a score is no number");
  }
  const int32_t label = data.labels[sample];
  ClassificationRecord record{.sample = sample,
                              .id = data.samples[sample].id,
                              .label = label,
                              .rank = RankOf(result.scores, label),
                              .label_score = result.scores[static_cast<size_t>(label)],
                              .queue_ms = absl::ToDoubleMilliseconds(result.timings.queue),
                              .prefill_ms = absl::ToDoubleMilliseconds(result.timings.prefill),
                              .total_ms = absl::ToDoubleMilliseconds(result.timings.total),
                              .prompt_tokens = result.usage.prompt_tokens,
                              .hit_tokens = result.cache.hit_tokens,
                              .images_encoded = result.cache.images_encoded,
                              .contexts = result.scoring.contexts,
                              .context_hits = result.scoring.context_hits,
                              .computed_rows = result.scoring.computed_rows,
                              .saved_rows = result.scoring.saved_rows,
                              .passes = result.scoring.passes};
  for (const ClassScore& score : result.top) {
    record.top.push_back(score.index);
    record.top_scores.push_back(score.score);
  }
  if (num_names == 2) {
    record.positive = result.probabilities[static_cast<size_t>(PositiveOf(data.names))];
  }
  return record;
}

ClassificationSummary::Times TimesOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&values](double share) {
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  };
  return {.median = at(0.5), .p95 = at(0.95), .max = values.back()};
}

}  // namespace

absl::StatusOr<ClassSetInfo> MakeClassSet(Classifier* classifier, ClassSetSpec spec) {
  const auto ended = std::make_shared<Ended<absl::StatusOr<ClassSetInfo>>>();
  classifier->CreateClassSet(std::move(spec), [ended](absl::StatusOr<ClassSetInfo> info) {
    ended->Push(std::move(info));
  });
  return ended->Pop();
}

int32_t PositiveOf(absl::Span<const std::string> names) {
  return static_cast<int32_t>(std::max_element(names.begin(), names.end()) - names.begin());
}

absl::Status RankAll(const ClassificationData& data, absl::Span<const size_t> order,
                     const ClassifyRequest& request, int32_t in_flight, Classifier* classifier,
                     ClassificationResults* results,
                     absl::FunctionRef<void(size_t done, size_t total)> progress) {
  std::vector<size_t> wanted;
  for (const size_t sample : order) {
    if (results->records().count(sample) == 0) wanted.push_back(sample);
  }
  const auto ended = std::make_shared<Ended<Ranked>>();
  std::set<size_t> flying;
  absl::Status failed;
  const auto fail = [&](absl::Status status) {
    if (!failed.ok()) return;
    failed = std::move(status);
    for (const size_t sample : flying) classifier->Cancel(request.tenant, RequestId(sample));
  };
  progress(order.size() - wanted.size(), order.size());
  size_t next = 0, done = order.size() - wanted.size();
  for (;;) {
    while (failed.ok() && next < wanted.size() && flying.size() < static_cast<size_t>(in_flight)) {
      const size_t sample = wanted[next++];
      absl::StatusOr<ClassQuery> query = QueryOf(data.samples[sample]);
      if (!query.ok()) {
        fail(Named(data, sample, query.status()));
        break;
      }
      ClassifyRequest one = request;
      one.id = RequestId(sample);
      one.context = *std::move(query);
      flying.insert(sample);
      classifier->Classify(std::move(one), [ended, sample](absl::StatusOr<ClassifyResult> result) {
        ended->Push({sample, std::move(result)});
      });
    }
    if (flying.empty()) return failed;
    const Ranked ranked = ended->Pop();
    flying.erase(ranked.sample);
    if (!ranked.result.ok()) {
      fail(Named(data, ranked.sample, ranked.result.status()));
      continue;
    }
    absl::StatusOr<ClassificationRecord> record = RecordOf(data, ranked.sample, *ranked.result);
    if (!record.ok()) {
      fail(Named(data, ranked.sample, record.status()));
      continue;
    }
    if (absl::Status added = results->Add(*std::move(record)); !added.ok()) {
      fail(std::move(added));
      continue;
    }
    progress(++done, order.size());
  }
}

ClassificationSummary Summarise(const ClassificationData& data, absl::Span<const size_t> order,
                                const ClassificationResults& results) {
  std::vector<int32_t> ranks, labels, predicted;
  std::vector<double> positives, queue, prefill, total;
  std::vector<uint8_t> is_positive;
  ClassificationSummary summary{.samples = order.size()};
  for (const size_t sample : order) {
    const ClassificationRecord& record = results.records().at(sample);
    ranks.push_back(record.rank);
    labels.push_back(record.label);
    predicted.push_back(record.top.front());
    if (record.positive.has_value()) {
      positives.push_back(*record.positive);
      is_positive.push_back(record.label == PositiveOf(data.names) ? 1 : 0);
    }
    queue.push_back(record.queue_ms);
    prefill.push_back(record.prefill_ms);
    total.push_back(record.total_ms);
    ClassificationRecord& sums = summary.sums;
    sums.prompt_tokens += record.prompt_tokens;
    sums.hit_tokens += record.hit_tokens;
    sums.images_encoded += record.images_encoded;
    sums.contexts += record.contexts;
    sums.context_hits += record.context_hits;
    sums.computed_rows += record.computed_rows;
    sums.saved_rows += record.saved_rows;
    sums.passes += record.passes;
  }
  summary.top1 = TopAccuracy(ranks, 1);
  summary.top5 = TopAccuracy(ranks, 5);
  summary.mean_rank = MeanRank(ranks);
  if (!positives.empty()) summary.roc_auc = RocAuc(positives, is_positive);
  summary.outcomes = OutcomesByClass(labels, predicted);
  summary.queue = TimesOf(std::move(queue));
  summary.prefill = TimesOf(std::move(prefill));
  summary.total = TimesOf(std::move(total));
  return summary;
}

}  // namespace prefixd
