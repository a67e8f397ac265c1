// Times the index of shared prefixes: lookups whose columns lie in no cache of the CPU, beside the
// hashing that comes before them, and how fast columns come and go. Plain text.
//
//   cache_bench [--columns 100000] [--lookups 500] [--check]
//
// --check: exits with 1 if a bar of docs/performance.md is missed.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "cache/content.h"
#include "cache/page_pool.h"
#include "cache/prefix_index.h"

namespace prefixd {
namespace {

constexpr int kLayers = 32;
constexpr int32_t kPromptTokens = 1024;
constexpr int32_t kPromptColumns = kPromptTokens / kSlotsPerPage;
constexpr int32_t kVocabulary = 49152;
constexpr size_t kFlushBytes = 128 << 20;  // Several times the last-level cache.
constexpr double kMaxMedian = 5e-6, kMaxP99 = 15e-6;

struct Options {
  int32_t num_columns = 100000;
  int num_lookups = 500;
  bool check = false;
};

double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Percentile(std::vector<double> values, double share) {
  const size_t at = std::min(values.size() - 1, static_cast<size_t>(share * values.size()));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[at];
}

void PrintLine(const char* name, const std::vector<double>& seconds) {
  std::printf("%-44s %9.2f %9.2f %9.2f\n", name, Percentile(seconds, 0.5) * 1e6,
              Percentile(seconds, 0.99) * 1e6, Percentile(seconds, 1.0) * 1e6);
  std::fflush(stdout);
}

// Puts everything else out of the CPU's caches.
class CacheFlusher {
 public:
  void Flush() {
    for (size_t i = 0; i < bytes_.size(); i += 64) bytes_[i] = static_cast<char>(bytes_[i] + 1);
  }

 private:
  std::vector<char> bytes_ = std::vector<char>(kFlushBytes);
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), pool_(options.num_columns * kLayers), index_({.num_layers = kLayers}) {
    const int num_prompts = options.num_columns / kPromptColumns;
    for (int i = 0; i < num_prompts; ++i) prompts_.push_back(RandomPrompt());
  }

  // All prompts, cold pages of memory and all; hashing apart.
  void Publish() {
    double seconds = 0;
    for (const std::vector<int32_t>& prompt : prompts_) {
      const std::vector<ContentKey> keys = ColumnKeys(root_key_, {prompt, {}});
      std::vector<std::vector<PageRef>> pages(kPromptColumns);
      for (auto& column : pages) {
        for (int layer = 0; layer < kLayers; ++layer) column.push_back(*pool_.Allocate());
      }
      const double begin = NowSeconds();
      PrefixIndex::Pin pin = index_.Root(root_key_, 0);
      for (int32_t column = 0; column < kPromptColumns; ++column) {
        pin = index_.Publish(pin, keys[column], {prompt, {}}, std::move(pages[column]), 1);
      }
      pin = PrefixIndex::Pin();
      seconds += NowSeconds() - begin;
    }
    PrintRate("publish", index_.num_columns(), seconds);
  }

  // Looks up a prompt of `choose()` at a time. Returns whether the bars of a hit were kept.
  template <typename Choose>
  bool Lookups(const std::string& name, bool hit, Choose choose) {
    std::vector<double> hashing, finding, releasing, warm;
    for (int i = 0; i < options_.num_lookups; ++i) {
      const std::vector<int32_t> prompt = choose();
      flusher_.Flush();
      // Brings back the code and the root, which a busy server has at hand.
      index_.Find(index_.Root(root_key_, 0), {prompts_[0], {}},
                  ColumnKeys(root_key_, {prompts_[0], {}}), kPromptTokens);
      double begin = NowSeconds();
      const std::vector<ContentKey> keys = ColumnKeys(root_key_, {prompt, {}});
      hashing.push_back(NowSeconds() - begin);
      const PrefixIndex::Pin root = index_.Root(root_key_, 0);
      begin = NowSeconds();
      PrefixIndex::Match match = index_.Find(root, {prompt, {}}, keys, kPromptTokens);
      finding.push_back(NowSeconds() - begin);
      PREFIXD_CHECK((match.num_tokens() == kPromptTokens) == hit);
      begin = NowSeconds();
      match = PrefixIndex::Match();
      releasing.push_back(NowSeconds() - begin);
      begin = NowSeconds();
      match = index_.Find(root, {prompt, {}}, keys, kPromptTokens);
      warm.push_back(NowSeconds() - begin);
    }
    PrintLine((name + ": hashing 1024 tokens").c_str(), hashing);
    PrintLine((name + ": lookup, cold").c_str(), finding);
    PrintLine((name + ": lookup, again").c_str(), warm);
    PrintLine((name + ": release").c_str(), releasing);
    return Percentile(finding, 0.5) <= kMaxMedian && Percentile(finding, 0.99) <= kMaxP99;
  }

  bool Cached() {
    return Lookups("cached", true, [&] { return prompts_[random_() % prompts_.size()]; });
  }
  void Missing() {
    Lookups("missing", false, [&] { return RandomPrompt(); });
  }

  void Evict() {
    const int64_t columns = index_.num_columns();
    const double begin = NowSeconds();
    PREFIXD_CHECK(index_.Evict(columns * kLayers, -1) == columns * kLayers);
    PrintRate("evict", columns, NowSeconds() - begin);
  }

 private:
  // Every prompt begins with the same token, as those of a chat template do.
  std::vector<int32_t> RandomPrompt() {
    std::vector<int32_t> prompt(kPromptTokens, 1);
    for (size_t i = 1; i < prompt.size(); ++i) {
      prompt[i] = static_cast<int32_t>(random_() % kVocabulary);
    }
    return prompt;
  }

  static void PrintRate(const char* name, int64_t columns, double seconds) {
    std::printf("%-44s %9.2f million columns/s (%.0f ns each)\n", name, columns / seconds * 1e-6,
                seconds / columns * 1e9);
  }

  const Options options_;
  const ContentKey root_key_ = RootKey({"tenant", "", "model", "v1", "f32"});
  std::mt19937 random_{11};
  PagePool pool_;
  PrefixIndex index_;
  CacheFlusher flusher_;
  std::vector<std::vector<int32_t>> prompts_;
};

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the index of shared prefixes");
  app.add_option("--columns", options.num_columns, "columns in the index")
      ->check(CLI::Range(kPromptColumns, 10000000));
  app.add_option("--lookups", options.num_lookups)->check(CLI::Range(10, 1000000));
  app.add_flag("--check", options.check, "fail if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  Bench bench(options);
  bench.Publish();
  std::printf("%-44s %9s %9s %9s\n", "microseconds", "p50", "p99", "max");
  const bool cached = bench.Cached();
  bench.Missing();
  bench.Evict();
  std::printf("bar: cached: lookup, cold: p50 <= %.0f us, p99 <= %.0f us: %s\n", kMaxMedian * 1e6,
              kMaxP99 * 1e6, cached ? "kept" : "MISSED");
  return options.check && !cached ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Main(argc, argv); }
