#include "bench/sharing.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "bench/probes.h"
#include "cache/page_pool.h"

namespace prefixd {
namespace {

constexpr int kSuffixTokens = 32;
constexpr int kPreambleTokens = 8;  // Between picture and suffix; shared.
constexpr int kSessions = 64;

std::vector<int32_t> Concat(std::vector<int32_t> head, const std::vector<int32_t>& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

double PrefillSeconds(const StreamRecord& record) {
  return absl::ToDoubleSeconds(record.finished().timings.prefill);
}

struct SessionsRun {
  double seconds = 0;      // First submit to last first token.
  int64_t peak_pages = 0;  // In use: full pages stay cached, so looking now and then sees them all.
  int tower_runs = 0;
  std::vector<std::vector<int32_t>> answers;
};

SessionsRun RunSessions(EngineClient* client, std::vector<Request> requests) {
  client->Flush();
  SessionsRun run;
  const double begin = NowSeconds();
  std::vector<std::shared_ptr<StreamRecord>> records;
  for (Request& request : requests) records.push_back(client->Submit(std::move(request)));
  const auto note_pages = [&] {
    const auto stats = client->engine().Stats();
    run.peak_pages =
        std::max<int64_t>(run.peak_pages, stats->total_pages - stats->cache.free_pages);
  };
  for (const auto& record : records) {
    while (!record->WaitFor(absl::Milliseconds(2))) note_pages();
    PREFIXD_CHECK(record->status().ok());
    run.seconds = std::max(run.seconds, record->first_token_seconds() - begin);
    run.tower_runs += record->finished().cache.images_encoded;
    run.answers.push_back(record->token_ids());
  }
  client->StatsAtRest();
  note_pages();
  return run;
}

}  // namespace

void MeasureLaterQuestions(EngineClient* client, const std::string& picture, int rounds,
                           Bars* bars) {
  constexpr int kAnswerTokens = 8;
  const std::vector<int32_t> preamble = client->NewTokens(kPreambleTokens);
  int tower_runs = 0, most_computed = 0, different = 0;
  std::vector<double> ratios, later_ms, text_ms, first_ms;
  for (int round = 0; round < rounds; ++round) {
    // Another namespace each round: the picture is new in it.
    const std::string salt = absl::StrCat("round ", round);
    const auto ask = [&](const std::vector<int32_t>& question) {
      Request request = client->Ask(Concat(preamble, question), kAnswerTokens, picture);
      request.cache_salt = salt;
      return request;
    };
    const auto first = client->Run(ask(client->NewTokens(kSuffixTokens)));
    PREFIXD_CHECK(first->finished().cache.images_encoded == 1);
    first_ms.push_back(PrefillSeconds(*first) * 1e3);

    double later_seconds = 0, text_seconds = 0;
    const auto run_text = [&] {
      const auto text = client->Run(client->Ask(client->NewTokens(kSuffixTokens), kAnswerTokens));
      text_seconds += PrefillSeconds(*text) / 2;
    };
    const auto run_later = [&](const std::vector<int32_t>& question) {
      const auto later = client->Run(ask(question));
      later_seconds += PrefillSeconds(*later) / 2;
      tower_runs += later->finished().cache.images_encoded;
      most_computed = std::max(most_computed, later->finished().cache.computed_tokens);
      return later;
    };
    const std::vector<int32_t> question = client->NewTokens(kSuffixTokens);
    run_text();
    const auto second = run_later(question);
    run_later(client->NewTokens(kSuffixTokens));
    run_text();
    ratios.push_back(later_seconds / text_seconds);
    later_ms.push_back(later_seconds * 1e3);
    text_ms.push_back(text_seconds * 1e3);

    Request alone = ask(question);
    alone.bypass_prefix_cache = true;
    const auto cold = client->Run(std::move(alone));
    different += cold->token_ids() != second->token_ids() || cold->text() != second->text();
  }
  std::printf("later questions: prefill %.1f ms, a text of %d tokens %.1f ms, the first %.0f ms\n",
              Median(later_ms), kSuffixTokens, Median(text_ms), Median(first_ms));
  bars->AtMost("later questions: runs of the vision tower", tower_runs, 0);
  bars->AtMost("later questions: tokens computed", most_computed,
               kSuffixTokens + kSlotsPerPage - 1);
  bars->AtMost("later questions: answers that differ from cold ones", different, 0);
  bars->AtMost(absl::StrCat("later questions: prefill / text's, median of ", rounds),
               Median(ratios), 1.35);
}

void MeasureSessions(EngineClient* client, const std::string& name, const std::string& picture,
                     int rounds, double least_speedup, Bars* bars) {
  const std::vector<int32_t> preamble = client->NewTokens(kPreambleTokens);
  client->Run(client->Ask(client->NewTokens(4 * kSlotsPerPage), 1));
  const EngineStats stats = client->StatsAtRest();
  const int64_t layers = stats.cache.cached_pages / stats.cache.columns;
  const int64_t prefix_tokens = client->engine().model_info().tokens_per_image + kPreambleTokens;
  const int64_t tail_columns = (prefix_tokens + kSuffixTokens + kSlotsPerPage - 1) / kSlotsPerPage -
                               prefix_tokens / kSlotsPerPage;
  const int64_t most_pages = layers * (prefix_tokens / kSlotsPerPage + kSessions * tail_columns);

  std::vector<double> speedups, shared_seconds, alone_seconds;
  int tower_runs = 0, different = 0;
  int64_t peak_pages = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<Request> shared, alone;
    for (int i = 0; i < kSessions; ++i) {
      const auto ids = Concat(preamble, client->NewTokens(kSuffixTokens));
      shared.push_back(client->Ask(ids, 1, picture));
      alone.push_back(client->Ask(ids, 1, picture));
      alone.back().bypass_prefix_cache = true;
    }
    const bool shared_first = round % 2 == 0;
    SessionsRun with, without;
    if (shared_first) with = RunSessions(client, std::move(shared));
    without = RunSessions(client, std::move(alone));
    if (!shared_first) with = RunSessions(client, std::move(shared));
    speedups.push_back(without.seconds / with.seconds);
    shared_seconds.push_back(with.seconds);
    alone_seconds.push_back(without.seconds);
    tower_runs = std::max(tower_runs, with.tower_runs);
    peak_pages = std::max(peak_pages, with.peak_pages);
    for (int i = 0; i < kSessions; ++i) different += with.answers[i] != without.answers[i];
  }
  std::printf("%s, %d sessions: shared %.2f s, without sharing %.2f s\n", name.c_str(), kSessions,
              Median(shared_seconds), Median(alone_seconds));
  bars->AtMost(name + ", sessions: runs of the vision tower", tower_runs, 1);
  bars->AtMost(name + ", sessions: pages at the peak", static_cast<double>(peak_pages),
               static_cast<double>(most_pages));
  bars->AtMost(name + ", sessions: answers that differ", different, 0);
  bars->AtLeast(absl::StrCat(name, ", sessions: times faster, median of ", rounds),
                Median(speedups), least_speedup);
}

void MeasureOverhead(EngineClient* client, int rounds, Bars* bars) {
  constexpr int kStreams = 4, kPromptTokens = 512, kNewTokens = 32;
  std::vector<double> percent;
  EngineStats before = client->StatsAtRest();
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::shared_ptr<StreamRecord>> records;
    for (int i = 0; i < kStreams; ++i) {
      records.push_back(client->Submit(client->Ask(client->NewTokens(kPromptTokens), kNewTokens)));
    }
    for (const auto& record : records) {
      record->Wait();
      PREFIXD_CHECK(record->status().ok());
    }
    EngineStats after = client->StatsAtRest();
    percent.push_back(100 * absl::FDivDuration(after.cache_time - before.cache_time,
                                               after.step_time - before.step_time));
    before = std::move(after);
  }
  const CacheStats& cache = before.cache;
  std::printf("no hits: %lu of %lu tokens hit, %lu columns published, %lu evicted\n",
              cache.text_hit_tokens, cache.text_query_tokens, cache.published_columns,
              cache.evicted_columns);
  bars->AtMost(absl::StrCat("no hits: % of step time in the cache, median of ", rounds),
               Median(percent), 1);
}

}  // namespace prefixd
