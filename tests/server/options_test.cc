// Values, files, precedence and the generated reference of options.
#include "server/options.h"

#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "server/config_file.h"
#include "server/config_reference.h"
#include "server/option_table.h"
#include "server/resolve_options.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

EnvironmentLookup Environment(std::map<std::string, std::string> variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A file with `text`, gone at the end of the test.
class TempFile {
 public:
  explicit TempFile(const std::string& text)
      : path_(absl::StrCat(::testing::TempDir(), "/options_test_", getpid(), ".yaml")) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    EXPECT_TRUE(WriteFileAtomically(path_, absl::MakeSpan(bytes, text.size())).ok());
  }
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// Sets one option of fresh ones and returns the status.
absl::Status SetOne(const char* name, const char* text, ServerOptions* options) {
  return SetOption(*FindOption(name), text, options);
}

TEST(OptionValue, ReadsSizesWithUnits) {
  ServerOptions options;
  ASSERT_TRUE(SetOne("kv-memory", "32MiB", &options).ok());
  EXPECT_EQ(options.engine.kv_memory_bytes, 33554432u);
  ASSERT_TRUE(SetOne("kv-memory", "3GiB", &options).ok());
  EXPECT_EQ(options.engine.kv_memory_bytes, 3221225472u);
  ASSERT_TRUE(SetOne("kv-memory", "auto", &options).ok());
  EXPECT_EQ(options.engine.kv_memory_bytes, 0u);
}

TEST(OptionValue, RefusesSizesThatAreNot) {
  for (const char* text : {"32", "32MB", "32 MiB", "MiB", "-1MiB", "1e3MiB", "0x20MiB", "32mib",
                           "99999999999999999999MiB", "18446744073709551615TiB", " 32MiB"}) {
    ServerOptions options;
    EXPECT_THAT(Message(SetOne("kv-memory", text, &options)), HasSubstr("is not a size")) << text;
    EXPECT_EQ(options.engine.kv_memory_bytes, 0u) << text;
  }
  ServerOptions options;
  EXPECT_EQ(Message(SetOne("kv-memory", "0B", &options)),
            "`0B` is outside the range [1MiB, 1024TiB] or auto");
  EXPECT_EQ(Message(SetOne("kv-memory", "", &options)), "the value is empty");
}

TEST(OptionValue, ReadsDurationsWithUnits) {
  ServerOptions options;
  ASSERT_TRUE(SetOne("drain-delay", "1500ms", &options).ok());
  EXPECT_EQ(options.drain_delay, absl::Milliseconds(1500));
  ASSERT_TRUE(SetOne("drain-delay", "2m", &options).ok());
  EXPECT_EQ(options.drain_delay, absl::Seconds(120));
  ASSERT_TRUE(SetOne("drain-delay", "0s", &options).ok());
  EXPECT_EQ(options.drain_delay, absl::ZeroDuration());
  EXPECT_THAT(Message(SetOne("drain-delay", "10", &options)), HasSubstr("is not a duration"));
  EXPECT_EQ(Message(SetOne("drain-delay", "2h", &options)), "`2h` is outside the range [0s, 1h]");
}

TEST(OptionValue, ReadsWholeNumbersInTheirRange) {
  ServerOptions options;
  ASSERT_TRUE(SetOne("threads", "256", &options).ok());
  EXPECT_EQ(options.engine.threads, 256);
  for (const char* text : {"10x", "-1", "1e18", "+1", "1.0", "99999999999999999999"}) {
    EXPECT_THAT(Message(SetOne("threads", text, &options)), HasSubstr("is not a whole number"))
        << text;
  }
  EXPECT_EQ(Message(SetOne("threads", "257", &options)),
            "`257` is outside the range [1, 256] or auto");
  EXPECT_EQ(Message(SetOne("threads", "0", &options)), "`0` is outside the range [1, 256] or auto");
  EXPECT_EQ(options.engine.threads, 256);
}

TEST(OptionValue, ReadsChoicesAndBooleans) {
  ServerOptions options;
  ASSERT_TRUE(SetOne("kv-dtype", "bf16", &options).ok());
  EXPECT_EQ(options.engine.kv_dtype, "bf16");
  EXPECT_EQ(Message(SetOne("kv-dtype", "int3", &options)),
            "`int3` is none of auto, f32, bf16, f16");
  ASSERT_TRUE(SetOne("reflection", "false", &options).ok());
  EXPECT_FALSE(options.reflection);
  EXPECT_EQ(Message(SetOne("reflection", "yes", &options)), "`yes` is neither true nor false");
}

TEST(OptionValue, ReadsDecimalsInTheirRange) {
  ServerOptions options;
  const struct {
    const char* text;
    double value;
  } good[] = {
      {"0.25", 0.25}, {"1", 1}, {"1.0", 1}, {"0.001", 0.001}, {"0.30000000000000004", 0.1 + 0.2}};
  for (const auto& c : good) {
    ASSERT_TRUE(SetOne("retention-budget", c.text, &options).ok()) << c.text;
    EXPECT_EQ(options.engine.retention_budget, c.value) << c.text;
  }
  EXPECT_EQ(FormatOption(*FindOption("retention-budget"), options), "0.30000000000000004");
  for (const char* text : {"nan", "inf", "-0.1", "+0.1", ".5", "5.", "1e-1", "0x1", "0.5 ", "0,5",
                           "20%", "0..1", "0.1.2", "", "0.00000000000000000000000000000001"}) {
    const std::string why = Message(SetOne("retention-budget", text, &options));
    EXPECT_EQ(why, *text == '\0' ? "the value is empty"
                                 : absl::StrCat("`", text,
                                                "` is not a decimal such as 0.25; the "
                                                "range is [0.001, 1]"));
  }
  for (const char* text : {"0", "0.0", "0.0009", "1.1", "1.0000001", "99999"}) {
    EXPECT_EQ(Message(SetOne("retention-budget", text, &options)),
              absl::StrCat("`", text, "` is outside the range [0.001, 1]"));
  }
  EXPECT_EQ(options.engine.retention_budget, 0.1 + 0.2);
}

TEST(OptionValue, ReadsNumbersBelowZeroOnlyWhereThereAreSome) {
  ServerOptions options;
  ASSERT_TRUE(SetOne("retention-distance", "-65536", &options).ok());
  EXPECT_EQ(options.engine.retention_distance, -65536);
  ASSERT_TRUE(SetOne("retention-distance", "7", &options).ok());
  EXPECT_EQ(options.engine.retention_distance, 7);
  EXPECT_EQ(Message(SetOne("retention-distance", "-65537", &options)),
            "`-65537` is outside the range [-65536, 65536]");
  for (const char* text : {"--1", "-", "1-", "- 1", "-1.0", "-99999999999999999999"}) {
    EXPECT_THAT(Message(SetOne("retention-distance", text, &options)),
                HasSubstr("is not a whole number"))
        << text;
  }
  EXPECT_THAT(Message(SetOne("retention-protect", "-1", &options)),
              HasSubstr("is not a whole number"));
}

TEST(OptionTable, HasRetentionAndItsGuard) {
  const auto resolved = ResolveOptions({{"retention", "exact"},
                                        {"retention-budget", "0.2"},
                                        {"retention-policy", "h2o"},
                                        {"retention-profile", "p"},
                                        {"retention-profiles", "/d"},
                                        {"retention-start-size", "4"},
                                        {"retention-protect", "2"},
                                        {"retention-distance", "-9"},
                                        {"guard-sample-rate", "0.01"},
                                        {"guard-min-agreement", "0.8"},
                                        {"guard-max-drift", "0.5"},
                                        {"guard-budget-step", "0.05"}},
                                       Environment({}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const EngineOptions& engine = resolved->options.engine;
  EXPECT_EQ(engine.retention, "exact");
  EXPECT_EQ(engine.retention_budget, 0.2);
  EXPECT_EQ(engine.retention_policy, "h2o");
  EXPECT_EQ(engine.retention_profile, "p");
  EXPECT_EQ(engine.retention_profiles, "/d");
  EXPECT_EQ(engine.retention_start_size, 4);
  EXPECT_EQ(engine.retention_protect, 2);
  EXPECT_EQ(engine.retention_distance, -9);
  EXPECT_EQ(engine.guard_sample_rate, 0.01);
  EXPECT_EQ(engine.guard_min_agreement, 0.8);
  EXPECT_EQ(engine.guard_max_drift, 0.5);
  EXPECT_EQ(engine.guard_budget_step, 0.05);
  EXPECT_EQ(Message(ResolveOptions({{"retention", "on"}}, Environment({})).status()),
            "--retention: `on` is none of off, exact, shared");
}

TEST(OptionTable, HasClassification) {
  const auto resolved = ResolveOptions({{"state-dir", "/s"},
                                        {"max-class-names", "100"},
                                        {"max-class-sets", "0"},
                                        {"scoring-workspace", "2MiB"}},
                                       Environment({}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const ClassificationOptions& classification = resolved->options.engine.classification;
  EXPECT_EQ(classification.state_dir, "/s");
  EXPECT_EQ(classification.max_names, 100);
  EXPECT_EQ(classification.max_sets, 0);
  EXPECT_EQ(classification.scoring_workspace, 2u << 20);
  EXPECT_EQ(Message(ResolveOptions({{"max-class-names", "1"}}, Environment({})).status()),
            "--max-class-names: `1` is outside the range [2, 100000]");
}

TEST(OptionTable, EveryDefaultReadsBackAsItself) {
  for (const OptionSpec& spec : OptionTable()) {
    ServerOptions options;
    const std::string text = FormatOption(spec, options);
    if (text.empty()) continue;
    EXPECT_TRUE(SetOption(spec, text, &options).ok()) << spec.name << "=" << text;
    EXPECT_EQ(FormatOption(spec, options), text) << spec.name;
  }
}

TEST(OptionTable, NamesAreDistinctAndSpelledAlike) {
  std::map<std::string, int> names;
  for (const OptionSpec& spec : OptionTable()) {
    EXPECT_EQ(++names[std::string(spec.name)], 1) << spec.name;
    EXPECT_EQ(spec.help.back(), '.') << spec.name;
  }
  const OptionSpec& spec = *FindOption("kv-memory");
  EXPECT_EQ(spec.Flag(), "--kv-memory");
  EXPECT_EQ(spec.Environment(), "PREFIXD_KV_MEMORY");
  EXPECT_EQ(spec.Key(), "kv_memory");
  EXPECT_EQ(FindOption("no-such-option"), nullptr);
}

TEST(ConfigFile, ReadsAFlatMapping) {
  const auto entries = ParseConfig("f.yaml", "# comment\nmodel: demo\nkv_memory: \"32MiB\"\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].key, "model");
  EXPECT_EQ((*entries)[0].value, "demo");
  EXPECT_EQ((*entries)[1].value, "32MiB");
  EXPECT_EQ((*entries)[1].line, 3);
  EXPECT_TRUE(ParseConfig("f.yaml", "")->empty());
}

TEST(ConfigFile, NamesTheLineOfWhatIsWrong) {
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"a: 1\nb: 2\na: 3\n", "f.yaml:3: `a` was set in line 1 already"},
      {"a: 1\nb:\n", "f.yaml:2: `b` has no value"},
      {"a: &x 1\n", "f.yaml:1: anchors are not allowed"},
      {"a: &x 1\nb: *x\n", "f.yaml:1: anchors are not allowed"},
      {"a: [1, 2]\n", "f.yaml:1: lists are not allowed"},
      {"- 1\n", "f.yaml:1: lists are not allowed"},
      {"a:\n  b: 1\n", "f.yaml:2: nested mappings are not allowed"},
      {"a: !!int 1\n", "f.yaml:1: tags are not allowed"},
      {"just text\n", "f.yaml:1: expected `key: value`"},
      {"a: 1\n---\nb: 2\n", "f.yaml: more than one YAML document"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Message(ParseConfig("f.yaml", c.text).status()), c.error) << c.text;
  }
  EXPECT_THAT(Message(ParseConfig("f.yaml", "a: 1\nb: c: d\n").status()), HasSubstr("f.yaml:2: "));
  EXPECT_FALSE(ParseConfig("f.yaml", std::string(100000, '[')).ok());
  EXPECT_FALSE(ParseConfig("f.yaml", std::string(100000, '{')).ok());
}

TEST(ConfigFile, RefusesMoreThanOneMebibyte) {
  const TempFile file(std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(Message(ReadConfigFile(file.path()).status()), HasSubstr(file.path()));
}

TEST(ResolveOptions, FlagWinsOverEnvironmentOverFileOverDefault) {
  const TempFile file("threads: 3\nmax_queue: 33\nmax_images: 5\n");
  const auto resolved =
      ResolveOptions({{"config", file.path()}, {"threads", "1"}},
                     Environment({{"PREFIXD_THREADS", "2"}, {"PREFIXD_MAX_QUEUE", "22"}}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->options.engine.threads, 1);
  EXPECT_EQ(resolved->options.engine.max_queue, 22);
  EXPECT_EQ(resolved->options.engine.max_images, 5);
  EXPECT_EQ(resolved->options.engine.max_running, 64);
  const std::string shown = OptionsAsConfig(*resolved, /*show_origin=*/true);
  EXPECT_THAT(shown, HasSubstr("threads: 1  # flag\n"));
  EXPECT_THAT(shown, HasSubstr("max_queue: 22  # env\n"));
  EXPECT_THAT(shown, HasSubstr("max_images: 5  # file\n"));
  EXPECT_THAT(shown, HasSubstr("max_running: 64  # default\n"));
}

TEST(ResolveOptions, TheFileMayBeNamedByTheEnvironment) {
  const TempFile file("log_level: debug\n");
  const auto resolved = ResolveOptions({}, Environment({{"PREFIXD_CONFIG", file.path()}}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->options.log_level, "debug");
}

TEST(ResolveOptions, NamesTheSourceOfAnError) {
  EXPECT_EQ(Message(ResolveOptions({{"threads", "10x"}}, Environment({})).status()),
            "--threads: `10x` is not a whole number; the range is [1, 256] or auto");
  EXPECT_EQ(Message(ResolveOptions({}, Environment({{"PREFIXD_THREADS", ""}})).status()),
            "PREFIXD_THREADS: the value is empty");
  const TempFile file("listen: 127.0.0.1:1\nkv_memroy: 32MiB\n");
  EXPECT_EQ(Message(ResolveOptions({{"config", file.path()}}, Environment({})).status()),
            absl::StrCat(file.path(), ":2: unknown key `kv_memroy`; did you mean `kv_memory`?"));
  EXPECT_THAT(Message(ResolveOptions({{"config", "/nowhere.yaml"}}, Environment({})).status()),
              HasSubstr("/nowhere.yaml"));
}

TEST(ResolveOptions, WhatIsPrintedIsAFileThatSaysTheSame) {
  const auto before = ResolveOptions({{"threads", "2"},
                                      {"drain-delay", "250ms"},
                                      {"model", "a \"b\"#c"},
                                      {"kv-memory", "1MiB"},
                                      {"retention-budget", "0.123456789"}},
                                     Environment({}));
  ASSERT_TRUE(before.ok()) << before.status();
  const TempFile file(OptionsAsConfig(*before, /*show_origin=*/false));
  const auto after = ResolveOptions({{"config", file.path()}}, Environment({}));
  ASSERT_TRUE(after.ok()) << after.status();
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == "config") continue;
    EXPECT_EQ(FormatOption(spec, after->options), FormatOption(spec, before->options)) << spec.name;
  }
}

TEST(ServerOptions, ListensOnTheLoopbackUnlessToldInsecure) {
  ServerOptions options;
  options.engine.model_path = "demo";
  EXPECT_TRUE(ValidateServerOptions(options).ok());
  for (const char* listen : {"127.0.0.1:0", "127.9.9.9:1", "localhost:65535", "[::1]:80"}) {
    options.listen = listen;
    EXPECT_TRUE(ValidateServerOptions(options).ok()) << listen;
  }
  for (const char* listen : {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:1", "example.org:1"}) {
    options.listen = listen;
    options.insecure = false;
    EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("--insecure")) << listen;
    options.insecure = true;
    EXPECT_TRUE(ValidateServerOptions(options).ok()) << listen;
  }
}

TEST(ServerOptions, BeyondTheLoopbackTrafficIsEncryptedAndCallersAreKnown) {
  ServerOptions options;
  options.engine.model_path = "demo";
  options.listen = "0.0.0.0:50051";
  options.tenants_file = "t.yaml";
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("without encryption"));
  options.tls_cert = "cert.pem";
  EXPECT_EQ(Message(ValidateServerOptions(options)),
            "tls_cert is set, but tls_key is not; TLS needs both");
  options.tls_key = "key.pem";
  EXPECT_TRUE(ValidateServerOptions(options).ok());
  options.tenants_file.clear();
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("without authentication"));
  options.tls_client_ca = "ca.pem";
  EXPECT_TRUE(ValidateServerOptions(options).ok());
  options.tls_cert.clear();
  EXPECT_EQ(Message(ValidateServerOptions(options)),
            "tls_key is set, but tls_cert is not; TLS needs both");
  options.tls_key.clear();
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("tls_client_ca is set, but"));
}

TEST(ServerOptions, TheAdminListenerIsForOperatorsAlone) {
  ServerOptions options;
  options.engine.model_path = "demo";
  options.admin_port_file = "port";
  EXPECT_EQ(Message(ValidateServerOptions(options)),
            "admin_port_file is set, but admin_listen is not");
  options.admin_listen = "127.0.0.1";
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("admin_listen: `127.0.0.1`"));
  options.admin_listen = options.listen;
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("is the address of listen"));
  options.admin_listen = "127.0.0.1:0";
  EXPECT_TRUE(ValidateServerOptions(options).ok());
  EXPECT_TRUE(CheckAdminListener(options, false).ok());
  options.admin_listen = "0.0.0.0:1";
  EXPECT_THAT(Message(CheckAdminListener(options, true)), HasSubstr("without encryption"));
  options.tls_cert = options.tls_key = "x.pem";
  EXPECT_TRUE(CheckAdminListener(options, true).ok());
  EXPECT_THAT(Message(CheckAdminListener(options, false)), HasSubstr("without authentication"));
  options.insecure = true;
  EXPECT_TRUE(CheckAdminListener(options, false).ok());
}

TEST(ServerOptions, RefusesAddressesThatAreNot) {
  for (const char* listen : {"", "127.0.0.1", ":1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:-1",
                             "127.0.0.1:1x", "::1:80", "127.0.0.1: 1"}) {
    EXPECT_FALSE(ParseListenAddress(listen).ok()) << listen;
  }
  EXPECT_EQ(ParseListenAddress("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseListenAddress("[::1]:80")->port, 80);
}

TEST(ServerOptions, TakesOneAddressForMetrics) {
  ServerOptions options;
  options.engine.model_path = "demo";
  for (const char* listen : {"127.0.0.1:0", "0.0.0.0:9100", "[::]:9100", "some-host_1.example:1"}) {
    options.metrics_listen = listen;
    EXPECT_TRUE(ValidateServerOptions(options).ok()) << listen;
  }
  for (const char* listen : {"9100", ":9100", "127.0.0.1:x", "a,b:9100", "a b:9100", "a:9100s"}) {
    options.metrics_listen = listen;
    EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("metrics_listen: ")) << listen;
  }
}

TEST(ServerOptions, ChecksOptionsAgainstEachOther) {
  ServerOptions options;
  EXPECT_THAT(Message(ValidateServerOptions(options)), HasSubstr("--model DIR"));
  options.engine.model_path = "demo";
  options.default_deadline = absl::Seconds(601);
  EXPECT_EQ(Message(ValidateServerOptions(options)),
            "default_deadline is 10m1s, more than max_deadline, 10m");
  options.default_deadline = absl::Seconds(1);
  options.max_request_bytes = options.engine.max_image_bytes;
  EXPECT_EQ(Message(ValidateServerOptions(options)),
            "max_image_bytes is 16777216, not less than max_request_bytes, 16777216");
}

TEST(ConfigReference, IsThePageInDocs) {
  const auto page = ReadFile(absl::StrCat(PREFIXD_SOURCE_DIR, "/docs/configuration.md"), 1 << 20);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(*page, OptionReferenceMarkdown())
      << "run `prefixd config reference > docs/configuration.md`";
}

TEST(ConfigReference, StartUpLinesFitTheLog) {
  const auto resolved = ResolveOptions({}, Environment({}));
  const std::vector<std::string> lines = DescribeOptions(*resolved);
  ASSERT_EQ(lines.size(), 9u);  // One for each group.
  EXPECT_THAT(lines[0], HasSubstr("listen=127.0.0.1:50051(default)"));
  for (const std::string& line : lines) EXPECT_LT(line.size(), 1000u);
}

}  // namespace
}  // namespace prefixd
