// The metrics: their form, their values from a snapshot, their labels, their documentation.
#include "server/metrics.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/server/exposition.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using Families = std::map<std::string, ExposedFamily>;

ServerOptions VllmOptions() {
  ServerOptions options = FakeOptions();
  options.metrics_compat = "vllm";
  return options;
}

Families Scrape(const ServingContext& context) {
  const std::string text = MetricsText(context);
  const auto families = ParseExposition(text);
  EXPECT_TRUE(families.ok()) << families.status() << "\n" << text;
  return families.value_or(Families());
}

double Value(const Families& families, const std::string& name,
             const std::map<std::string, std::string>& labels = {}) {
  const auto value = FindValue(families, name, labels);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.value_or(-1);
}

// A pool of 100 pages: 40 free, 10 active, 50 cached, of which 30 can be evicted.
void FillStats(EngineStats* stats) {
  stats->waiting = 3;
  stats->running = 2;
  stats->total_pages = 100;
  stats->preemptions = 4;
  stats->requests_failed = 5;
  stats->finishes = {10, 11, 12, 13, 14, 15};
  stats->prompt_tokens = 600;
  CacheStats& cache = stats->cache;
  cache.free_pages = 40;
  cache.active_pages = 10;
  cache.cached_pages = 50;
  cache.evictable_pages = 30;
  cache.text_query_tokens = 300;
  cache.text_hit_tokens = 100;
  cache.image_query_tokens = 200;
  cache.image_hit_tokens = 150;
  cache.misses = {1, 2, 3, 4, 5};
  cache.evicted_pages_lru = 21;
  cache.evicted_pages_preempt = 22;
  cache.feature_hits = 31;
  cache.tower_runs = 32;
  cache.image_hits = 33;
  cache.image_misses = 34;
  stats->retention = {.requests = {51, 52, 53},
                      .selected_from = 400,
                      .kept_tokens = {300, 100},
                      .score_mass = 3,
                      .selections = 4,
                      .decode_drops = 54,
                      .saved_kv_bytes = 55,
                      .snapshot_hits = 56,
                      .snapshot_misses = 57,
                      .snapshots_made = 58,
                      .snapshots_evicted = 59,
                      .snapshots = 60,
                      .snapshot_pages = 61,
                      .score_bytes = 62,
                      .guard_sampled = 63,
                      .guard_replayed = 64,
                      .guard_dropped = 65,
                      .guard_agreement = 0.75,
                      .guard_logprob_drift = 0.125,
                      .guard_raises = 66,
                      .default_budget = 0.5};
}

TEST(Metrics, AreWellFormedWithAndWithoutAliases) {
  RunningServer plain, vllm(VllmOptions());
  const Families families = Scrape(plain.context);
  for (const auto& [name, family] : families) {
    EXPECT_TRUE(absl::StartsWith(name, "prefixd_") || absl::StartsWith(name, "process_")) << name;
  }
  EXPECT_GT(Scrape(vllm.context).size(), families.size() + 19);
}

TEST(Metrics, ShowTheSnapshot) {
  RunningServer server(VllmOptions());
  server.engine.EditStats(FillStats);
  const Families families = Scrape(server.context);
  EXPECT_EQ(Value(families, "prefixd_requests_waiting"), 3);
  EXPECT_EQ(Value(families, "prefixd_requests_running"), 2);
  EXPECT_EQ(Value(families, "prefixd_requests_finished_total", {{"reason", "stop_token"}}), 12);
  EXPECT_EQ(Value(families, "prefixd_requests_finished_total", {{"reason", "time_limit"}}), 15);
  EXPECT_EQ(Value(families, "prefixd_cached_prompt_tokens_total"), 250);
  EXPECT_EQ(Value(families, "prefixd_kv_prefix_query_tokens_total", {{"kind", "image"}}), 200);
  EXPECT_EQ(Value(families, "prefixd_kv_prefix_hit_tokens_total", {{"kind", "text"}}), 100);
  EXPECT_EQ(Value(families, "prefixd_kv_prefix_misses_total", {{"reason", "bypassed"}}), 2);
  EXPECT_EQ(Value(families, "prefixd_kv_prefix_misses_total", {{"reason", "diverged"}}), 5);
  EXPECT_EQ(Value(families, "prefixd_kv_evictions_total", {{"cause", "preempt"}}), 22);
  EXPECT_EQ(Value(families, "prefixd_image_feature_misses_total"), 32);
  EXPECT_EQ(Value(families, "prefixd_image_decode_hits_total"), 33);
  EXPECT_EQ(Value(families, "prefixd_kv_cache_info", {{"num_pages", "100"}, {"page_size", "16"}}),
            1);
  const std::map<std::string, std::string> vllm = {{"model_name", "fake"}, {"engine", "0"}};
  EXPECT_EQ(Value(families, "vllm:num_requests_waiting", vllm), 3);
  EXPECT_EQ(Value(families, "vllm:prefix_cache_queries_total", vllm), 500);
  EXPECT_EQ(Value(families, "vllm:prefix_cache_hits_total", vllm), 250);
  std::map<std::string, std::string> stop = vllm;
  stop["finished_reason"] = "stop";
  EXPECT_EQ(Value(families, "vllm:request_success_total", stop), 10 + 11 + 12);
}

TEST(Metrics, ShowRetentionByScopeAndLayer) {
  RunningServer server;
  server.engine.EditStats(FillStats);
  const Families families = Scrape(server.context);
  const struct {
    const char* name;
    std::map<std::string, std::string> labels;
    double value;
  } rows[] = {
      {"retention_requests_total", {{"scope", "off"}}, 51},
      {"retention_requests_total", {{"scope", "exact"}}, 52},
      {"retention_requests_total", {{"scope", "shared"}}, 53},
      {"retention_selections_total", {}, 4},
      {"retention_kept_ratio", {{"layer", "0"}}, 0.75},
      {"retention_kept_ratio", {{"layer", "1"}}, 0.25},
      {"retention_score_mass_ratio", {}, 0.75},
      {"retention_decode_drops_total", {}, 54},
      {"retention_saved_bytes_total", {}, 55},
      {"retention_snapshot_hits_total", {}, 56},
      {"retention_snapshot_misses_total", {}, 57},
      {"retention_snapshots_made_total", {}, 58},
      {"retention_snapshots_evicted_total", {}, 59},
      {"retention_snapshots", {}, 60},
      {"retention_snapshot_pages", {}, 61},
      {"retention_score_bytes", {}, 62},
      {"retention_default_budget_ratio", {}, 0.5},
      {"guard_sampled_total", {}, 63},
      {"guard_replayed_total", {}, 64},
      {"guard_dropped_total", {}, 65},
      {"guard_raises_total", {}, 66},
      {"guard_agreement_ratio", {}, 0.75},
      {"guard_drift_nats", {}, 0.125},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(Value(families, absl::StrCat("prefixd_", row.name), row.labels), row.value)
        << row.name;
  }
}

TEST(Metrics, ShowScoring) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) {
    stats->scoring = {.requests = 1,
                      .candidates = 2,
                      .computed_rows = 3,
                      .saved_rows = 4,
                      .pruned_nodes = 5,
                      .passes = 6,
                      .context_hits = 7,
                      .class_sets = 8};
  });
  const Families families = Scrape(server.context);
  const std::pair<const char*, double> rows[] = {
      {"scoring_contexts_total", 1},      {"scoring_candidates_total", 2},
      {"scoring_computed_rows_total", 3}, {"scoring_saved_rows_total", 4},
      {"scoring_pruned_nodes_total", 5},  {"scoring_passes_total", 6},
      {"scoring_context_hits_total", 7},  {"class_sets", 8},
  };
  for (const auto& [name, value] : rows) {
    EXPECT_EQ(Value(families, absl::StrCat("prefixd_", name)), value) << name;
  }
}

TEST(Metrics, ShowNoLayerBeforeTheFirstSelection) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) { stats->retention.kept_tokens = {0, 0}; });
  const Families families = Scrape(server.context);
  EXPECT_TRUE(families.at("prefixd_retention_kept_ratio").samples.empty());
  EXPECT_EQ(Value(families, "prefixd_retention_score_mass_ratio"), 1);
}

TEST(Metrics, CountCachedPagesThatCanBeEvictedAsFree) {
  RunningServer server;
  server.engine.EditStats(FillStats);
  Families families = Scrape(server.context);
  EXPECT_DOUBLE_EQ(Value(families, "prefixd_kv_cache_usage_ratio"), 0.30);  // 10 + (50 - 30).
  EXPECT_EQ(Value(families, "prefixd_kv_pages", {{"state", "free"}}), 40);
  EXPECT_EQ(Value(families, "prefixd_kv_pages", {{"state", "active"}}), 10);
  EXPECT_EQ(Value(families, "prefixd_kv_pages", {{"state", "cached"}}), 30);
  EXPECT_EQ(Value(families, "prefixd_kv_pages", {{"state", "pinned"}}), 20);
  // A warm server without requests looks empty to a router.
  server.engine.EditStats([](EngineStats* stats) {
    stats->cache.free_pages = 0;
    stats->cache.active_pages = 0;
    stats->cache.cached_pages = stats->cache.evictable_pages = 100;
  });
  families = Scrape(server.context);
  EXPECT_EQ(Value(families, "prefixd_kv_cache_usage_ratio"), 0);
}

TEST(Metrics, ShowHistogramsCumulatively) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) {
    stats->histograms.queue_seconds.Observe(0.02);
    stats->histograms.queue_seconds.Observe(0.2, 2);
    stats->histograms.queue_seconds.Observe(1e6);
  });
  const Families families = Scrape(server.context);
  const std::string name = "prefixd_queue_time_seconds";
  EXPECT_EQ(Value(families, name + "_bucket", {{"le", "0.01"}}), 0);
  EXPECT_EQ(Value(families, name + "_bucket", {{"le", "0.03"}}), 1);
  EXPECT_EQ(Value(families, name + "_bucket", {{"le", "0.3"}}), 3);
  EXPECT_EQ(Value(families, name + "_bucket", {{"le", "7680"}}), 3);
  EXPECT_EQ(Value(families, name + "_bucket", {{"le", "+Inf"}}), 4);
  EXPECT_EQ(Value(families, name + "_count"), 4);
  EXPECT_NEAR(Value(families, name + "_sum"), 1e6 + 0.42, 1e-3);
}

TEST(Metrics, CountCallsByMethodCodeAndReason) {
  RunningServer server;
  Call good(&server, Hello("a"));
  server.engine.WaitRequest(0);
  server.engine.Send("a", Started("a"));
  server.engine.Send("a", Finished());
  while (good.Next().ByteSizeLong() > 0) {
  }
  EXPECT_TRUE(good.reader->Finish().ok());
  Call bad(&server, Hello("bad id"));
  EXPECT_FALSE(bad.reader->Finish().ok());
  Call cut(&server, Hello("c"));
  server.engine.WaitRequest(1);
  ASSERT_TRUE(server.engine.Cancel("", "c").ok());
  EXPECT_FALSE(cut.reader->Finish().ok());
  {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name("other");
    v1::GetModelResponse response;
    EXPECT_FALSE(server.models->GetModel(&context, request, &response).ok());
  }
  const Families families = Scrape(server.context);
  const auto calls = [&](const std::string& method, const std::string& code) {
    return Value(families, "prefixd_requests_total",
                 {{"method", "prefixd.v1." + method}, {"code", code}});
  };
  EXPECT_EQ(calls("GenerationService/Generate", "OK"), 1);
  EXPECT_EQ(calls("GenerationService/Generate", "INVALID_ARGUMENT"), 1);
  EXPECT_EQ(calls("GenerationService/Generate", "CANCELLED"), 1);
  EXPECT_EQ(calls("ModelService/GetModel", "NOT_FOUND"), 1);
  const std::string refused = "prefixd_request_rejections_total";
  EXPECT_EQ(Value(families, refused, {{"reason", "PARAMETER_OUT_OF_RANGE"}}), 1);
  EXPECT_EQ(Value(families, refused, {{"reason", "MODEL_NOT_FOUND"}}), 1);
  // A cancelled call was not refused.
  EXPECT_FALSE(FindValue(families, refused, {{"reason", "CANCELLED"}}).ok());
}

TEST(Metrics, CountUndecodableImagesByReason) {
  RunningServer server;
  server.engine.SetSubmitStatus(
      MakeError(absl::StatusCode::kInvalidArgument, reason::kImageCorrupt, "cut off"));
  Call call(&server, Hello("a"));
  EXPECT_FALSE(call.reader->Finish().ok());
  const Families families = Scrape(server.context);
  const std::string name = "prefixd_image_decode_failures_total";
  EXPECT_EQ(Value(families, name, {{"reason", "IMAGE_CORRUPT"}}), 1);
  EXPECT_EQ(Value(families, name, {{"reason", "IMAGE_TOO_LARGE"}}), 0);
}

TEST(Metrics, NeverCarryTenantsOrRequestIds) {
  RunningServer server(VllmOptions());
  server.engine.EditStats([](EngineStats* stats) {
    stats->tenants.push_back({.name = "secret-tenant", .waiting = 1});
    stats->requests.push_back({.id = "secret-id", .tenant = "secret-tenant", .state = "decode"});
  });
  Call call(&server, Hello("secret-id"));
  server.engine.WaitRequest(0);
  ASSERT_TRUE(server.engine.Cancel("", "secret-id").ok());
  EXPECT_FALSE(call.reader->Finish().ok());
  EXPECT_FALSE(absl::StrContains(MetricsText(server.context), "secret"));
}

TEST(Metrics, ReportTheProcess) {
  RunningServer server;
  server.context.wall_start = absl::FromUnixSeconds(1700000000);
  const Families families = Scrape(server.context);
  EXPECT_GT(Value(families, "process_resident_memory_bytes"), 1e6);
  EXPECT_GT(Value(families, "process_open_fds"), 3);
  EXPECT_GT(Value(families, "process_cpu_seconds_total"), 0);
  EXPECT_EQ(Value(families, "process_start_time_seconds"), 1700000000);
}

TEST(Metrics, CostLittle) {
  RunningServer server(VllmOptions());
  server.engine.EditStats(FillStats);
  constexpr int kScrapes = 100;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kScrapes; ++i) ASSERT_GT(MetricsText(server.context).size(), 1000u);
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  std::printf("bench metrics/scrape us=%.0f bytes=%zu\n", took.count() / kScrapes,
              MetricsText(server.context).size());
  EXPECT_LT(took.count() / kScrapes, 20'000);  // A sanitizer on a busy machine.
}

// Rows "| `name` | type | labels | meaning |" of docs/operations.md.
struct DocumentedMetric {
  std::string type, labels, help;
};
std::map<std::string, DocumentedMetric> ReadDocumentation() {
  std::map<std::string, DocumentedMetric> rows;
  std::ifstream file(PREFIXD_SOURCE_DIR "/docs/operations.md");
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, "| `prefixd_") && !absl::StartsWith(line, "| `process_") &&
        !absl::StartsWith(line, "| `vllm:")) {
      continue;
    }
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    EXPECT_EQ(cells.size(), 4u) << line;
    if (cells.size() != 4) continue;
    const std::string name(absl::StripSuffix(absl::StripPrefix(cells[0], "| `"), "`"));
    EXPECT_EQ(rows.count(name), 0u) << name << " is there twice";
    rows[name] = {.type = cells[1],
                  .labels = cells[2],
                  .help = std::string(absl::StripSuffix(cells[3], " |"))};
  }
  return rows;
}

TEST(Metrics, AreDocumentedOneByOne) {
  RunningServer server(VllmOptions());
  server.context.open_nanos = server.context.load_nanos = 1;
  server.engine.EditStats(FillStats);
  server.engine.SetSubmitStatus(
      MakeError(absl::StatusCode::kUnavailable, reason::kModelNotReady, "loading"));
  Call call(&server, Hello("a"));
  EXPECT_FALSE(call.reader->Finish().ok());
  const Families families = Scrape(server.context);
  const std::map<std::string, DocumentedMetric> documented = ReadDocumentation();
  for (const auto& [name, family] : families) {
    const auto row = documented.find(name);
    ASSERT_FALSE(family.samples.empty()) << name;
    std::string labels;
    for (const auto& [label, value] : family.samples[0].labels) {
      const bool common =
          absl::StartsWith(name, "vllm:") && (label == "model_name" || label == "engine");
      if (label != "le" && !common) labels += (labels.empty() ? "" : ", ") + label;
    }
    if (labels.empty()) labels = "-";
    const std::string expected =
        "| `" + name + "` | " + family.type + " | " + labels + " | " + family.help + " |";
    EXPECT_NE(row, documented.end()) << "missing in docs/operations.md:\n" << expected;
    if (row == documented.end()) continue;
    EXPECT_EQ(row->second.type, family.type) << expected;
    EXPECT_EQ(row->second.labels, labels) << expected;
    EXPECT_EQ(row->second.help, family.help) << expected;
  }
  for (const auto& [name, row] : documented) {
    EXPECT_EQ(families.count(name), 1u) << name << " is documented and does not exist";
  }
}

}  // namespace
}  // namespace prefixd::testing
