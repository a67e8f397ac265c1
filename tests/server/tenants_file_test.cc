// The tenants file: what is read from it, and that nothing doubtful is.
#include "server/tenants_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Digest(absl::string_view token) { return ToHex(Sha256Of(token)); }

// A file with one tenant, whose lines after `name` and `token_sha256` are `lines`.
std::string OneTenant(const std::string& lines) {
  return absl::StrCat("tenants:\n  - name: acme\n    token_sha256: ", Digest("secret"), "\n",
                      lines);
}

std::string ErrorOf(const std::string& text) {
  const auto file = ParseTenantsFile("t.yaml", text);
  return file.ok() ? "" : std::string(file.status().message());
}

class SecretFile {
 public:
  SecretFile(const std::string& text, mode_t mode)
      : path_(absl::StrCat(::testing::TempDir(), "/tenants_test_", getpid())) {
    std::ofstream(path_) << text;
    EXPECT_EQ(chmod(path_.c_str(), mode), 0);
  }
  ~SecretFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(TenantsFile, ReadsWhatATenantHas) {
  const auto file = ParseTenantsFile("t.yaml", absl::StrCat("# Comment\n"
                                                            "tenants:\n"
                                                            "  - name: acme\n"
                                                            "    token_sha256: [",
                                                            Digest("one"), ", \"", Digest("two"),
                                                            "\"]\n"
                                                            "    weight: 2.5\n"
                                                            "    page_share: 0.75\n"
                                                            "    page_floor: 0.25\n"
                                                            "    max_running: 8\n"
                                                            "    max_queue: 9\n"
                                                            "    max_prefixes: 10\n"
                                                            "    max_priority: -3\n"
                                                            "  - name: other.one_2-x\n"
                                                            "    token_sha256: ",
                                                            Digest("three"),
                                                            "\n"
                                                            "admin:\n"
                                                            "  token_sha256: ",
                                                            Digest("root"), "\n"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tenants.size(), 2u);
  const TenantOptions& acme = file->tenants[0];
  EXPECT_EQ(acme.name, "acme");
  EXPECT_EQ(acme.weight, 2.5);
  EXPECT_EQ(acme.page_share, 0.75);
  EXPECT_EQ(acme.page_floor, 0.25);
  EXPECT_EQ(acme.max_running, 8);
  EXPECT_EQ(acme.max_queue, 9);
  EXPECT_EQ(acme.max_prefixes, 10);
  EXPECT_EQ(acme.max_priority, -3);
  EXPECT_EQ(file->tenants[1].name, "other.one_2-x");
  EXPECT_EQ(file->tenants[1].page_share, 0.5);
  EXPECT_EQ(file->tokens->size(), 4u);
  EXPECT_TRUE(file->tokens->has_operators());
  EXPECT_EQ(file->tokens->Find("one")->tenant, "acme");
  EXPECT_EQ(file->tokens->Find("two")->tenant, "acme");
  EXPECT_EQ(file->tokens->Find("two")->max_priority, -3);
  EXPECT_EQ(file->tokens->Find("three")->tenant, "other.one_2-x");
  EXPECT_TRUE(file->tokens->Find("root")->is_operator);
  EXPECT_FALSE(file->tokens->Find("one")->is_operator);
  EXPECT_EQ(file->tokens->Find("ONE"), nullptr);
  EXPECT_EQ(file->tokens->Find(""), nullptr);
}

TEST(TenantsFile, TheFloorThatNobodyWroteFitsTheShare) {
  const auto file = ParseTenantsFile("t.yaml", OneTenant("    page_share: 0.03\n"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tenants[0].page_floor, 0.03);
}

TEST(TenantsFile, AnUnknownKeyIsNamedWithItsLineAndWhatMayHaveBeenMeant) {
  EXPECT_EQ(ErrorOf(OneTenant("    wieght: 2\n")),
            "t.yaml:4: unknown key `wieght`; did you mean `weight`?");
  EXPECT_EQ(ErrorOf("tenant: []\n"), "t.yaml:1: unknown key `tenant`; did you mean `tenants`?");
  EXPECT_EQ(ErrorOf(OneTenant("admin:\n  tokens: x\n")), "t.yaml:5: unknown key `tokens`");
}

TEST(TenantsFile, NumbersOutOfRangeAreNamedWithTheirRange) {
  const struct {
    const char *line, *why;
  } cases[] = {
      {"weight: 0", "weight: `0` is not a number in the range (0, 1000]"},
      {"weight: 1000.5", "weight: `1000.5` is not a number in the range (0, 1000]"},
      {"weight: nan", "weight: `nan` is not a number in the range (0, 1000]"},
      {"weight: -1", "weight: `-1` is not a number in the range (0, 1000]"},
      {"weight: [1]", "weight: `` is not a number in the range (0, 1000]"},
      {"page_share: 0", "page_share: `0` is not a number in the range (0, 1]"},
      {"page_share: 1.01", "page_share: `1.01` is not a number in the range (0, 1]"},
      {"page_share: 50%", "page_share: `50%` is not a number in the range (0, 1]"},
      {"page_floor: -0.1", "page_floor: `-0.1` is not a number in the range [0, 1]"},
      {"max_running: 0", "max_running: `0` is not an integer in the range [1, 4096]"},
      {"max_running: 1.5", "max_running: `1.5` is not an integer in the range [1, 4096]"},
      {"max_queue: 65537", "max_queue: `65537` is not an integer in the range [1, 65536]"},
      {"max_queue: 1e3", "max_queue: `1e3` is not an integer in the range [1, 65536]"},
      {"max_prefixes: -1", "max_prefixes: `-1` is not an integer in the range [0, 1000000]"},
      {"max_priority: 101", "max_priority: `101` is not an integer in the range [-100, 100]"},
      {"max_priority: 99999999999",
       "max_priority: `99999999999` is not an integer in the range [-100, 100]"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ErrorOf(OneTenant(absl::StrCat("    ", c.line, "\n"))),
              absl::StrCat("t.yaml:4: ", c.why));
  }
  EXPECT_EQ(ErrorOf(OneTenant("    page_share: 0.2\n    page_floor: 0.3\n")),
            "t.yaml:2: tenant `acme`: page_floor is 0.3, more than page_share, 0.2");
}

// A tenant whose block `retention` has one line.
std::string Retention(const std::string& line) {
  return OneTenant(absl::StrCat("    retention:\n      ", line, "\n"));
}

TEST(TenantsFile, ReadsTheDefaultsOfRetention) {
  const auto file = ParseTenantsFile(
      "t.yaml", OneTenant("    retention: {scope: shared, budget: 0.25, policy: h2o, profile: "
                          "llava-v1.5-7b, start_size: 4, protect: 2, distance: -9}\n"));
  ASSERT_TRUE(file.ok()) << file.status();
  const RetentionParams& all = file->tenants[0].retention;
  EXPECT_EQ(all.scope, RetentionScope::kShared);
  EXPECT_EQ(all.budget, 0.25);
  EXPECT_EQ(all.policy, "h2o");
  EXPECT_EQ(all.profile, "llava-v1.5-7b");
  EXPECT_EQ(all.start_size, 4);
  EXPECT_EQ(all.protect, 2);
  EXPECT_EQ(all.distance, -9);
  const auto some = ParseTenantsFile("t.yaml", Retention("profile: \"\""));
  ASSERT_TRUE(some.ok()) << some.status();
  const RetentionParams& one = some->tenants[0].retention;
  EXPECT_EQ(one.profile, "");
  EXPECT_FALSE(one.scope || one.budget || one.policy || one.start_size || one.protect ||
               one.distance);
  EXPECT_EQ(ParseTenantsFile("t.yaml", OneTenant(""))->tenants[0].retention.scope, std::nullopt);
}

TEST(TenantsFile, DoubtfulRetentionIsNamedWithItsLine) {
  const struct {
    const char *line, *why;
  } cases[] = {
      {"scope: on", "scope: `on` is none of off, exact, shared"},
      {"scope: [exact]", "scope: `` is none of off, exact, shared"},
      {"budget: 0", "budget: `0` is not a number in the range [0.001, 1]"},
      {"budget: 1.5", "budget: `1.5` is not a number in the range [0.001, 1]"},
      {"budget: nan", "budget: `nan` is not a number in the range [0.001, 1]"},
      {"budget: 20%", "budget: `20%` is not a number in the range [0.001, 1]"},
      {"policy: ../p", "policy: a name has 1..64 characters of [a-z0-9-]"},
      {"policy: \"\"", "policy: a name has 1..64 characters of [a-z0-9-]"},
      {"policy: [h2o]", "policy: a name has 1..64 characters of [a-z0-9-]"},
      {"profile: ../p.json", "profile: a name has 1..64 characters of [A-Za-z0-9._-]"},
      {"profile: ..", "profile: a name has 1..64 characters of [A-Za-z0-9._-]"},
      {"start_size: 1025", "start_size: `1025` is not an integer in the range [0, 1024]"},
      {"protect: 0", "protect: `0` is not an integer in the range [1, 1024]"},
      {"distance: -65537", "distance: `-65537` is not an integer in the range [-65536, 65536]"},
      {"distance: 1.5", "distance: `1.5` is not an integer in the range [-65536, 65536]"},
      {"budegt: 0.5", "unknown key `budegt`; did you mean `budget`?"},
      {"reference_positions: true", "unknown key `reference_positions`"},
      {"- exact", "retention: expected `key: value`"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ErrorOf(Retention(c.line)), absl::StrCat("t.yaml:5: ", c.why));
  }
  EXPECT_EQ(ErrorOf(OneTenant("    retention: exact\n")),
            "t.yaml:4: retention: expected `key: value`");
  EXPECT_EQ(ErrorOf(OneTenant("    retenion: {}\n")),
            "t.yaml:4: unknown key `retenion`; did you mean `retention`?");
}

TEST(TenantsFile, FloorsFitThePool) {
  const auto two = [](const char* floor) {
    return absl::StrCat(OneTenant("    page_share: 1\n    page_floor: 0.6\n"),
                        "  - name: b\n    token_sha256: ", Digest("b"), "\n    page_floor: ", floor,
                        "\n");
  };
  EXPECT_EQ(ErrorOf(two("0.4")), "");
  EXPECT_EQ(ErrorOf(two("0.41")),
            "t.yaml: the page_floor of all tenants add up to 1.01, the limit is 1 "
            "(a tenant without page_floor has 0.05)");
}

TEST(TenantsFile, NamesAndTokensAreDistinct) {
  const std::string second =
      absl::StrCat("  - name: b\n    token_sha256: ", Digest("secret"), "\n");
  EXPECT_EQ(ErrorOf(absl::StrCat(OneTenant(""), second)),
            "t.yaml:5: token_sha256: is in the file already");
  const std::string same = absl::StrCat("  - name: acme\n    token_sha256: ", Digest("b"), "\n");
  EXPECT_EQ(ErrorOf(absl::StrCat(OneTenant(""), same)),
            "t.yaml:4: tenant `acme` is in the file already");
  EXPECT_EQ(ErrorOf(OneTenant(absl::StrCat("admin:\n  token_sha256: ", Digest("secret"), "\n"))),
            "t.yaml:5: token_sha256: is in the file already");
}

TEST(TenantsFile, ATokenItselfIsRefusedAndNotShown) {
  const std::string error = ErrorOf("tenants:\n  - name: a\n    token_sha256: hunter2\n");
  EXPECT_EQ(error,
            "t.yaml:3: token_sha256: expected 64 hexadecimal digits, the SHA-256 of a token");
  EXPECT_THAT(ErrorOf(absl::StrCat("tenants:\n  - name: a\n    token_sha256: ", Digest(""), "\n")),
              HasSubstr("empty token"));
  EXPECT_THAT(ErrorOf("tenants:\n  - name: a\n    token_sha256: []\n"),
              HasSubstr("a list of them"));
  EXPECT_EQ(ErrorOf("tenants:\n  - name: a\n"), "t.yaml:2: tenant `a`: `token_sha256` is missing");
}

TEST(TenantsFile, NamesAreCheckedBeforeUse) {
  for (const char* name : {"\"\"", "a/b", "\"a b\"", "é", "[a]"}) {
    EXPECT_EQ(ErrorOf(absl::StrCat("tenants:\n  - name: ", name,
                                   "\n    token_sha256: ", Digest("x"), "\n")),
              "t.yaml:2: a tenant's name has 1..64 characters of [A-Za-z0-9._-]")
        << name;
  }
  EXPECT_THAT(ErrorOf(absl::StrCat("tenants:\n  - name: ", std::string(65, 'a'), "\n")),
              HasSubstr("1..64"));
  EXPECT_EQ(ErrorOf("tenants:\n  - weight: 1\n"), "t.yaml:2: tenant: `name` is missing");
}

TEST(TenantsFile, NothingThatCouldBeMisreadIsRead) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("no tenant"));
  EXPECT_THAT(ErrorOf("# nothing\n"), HasSubstr("no tenant"));
  EXPECT_THAT(ErrorOf("tenants:\n"), HasSubstr("no tenant"));
  EXPECT_THAT(ErrorOf("tenants: []\n"), HasSubstr("no tenant"));
  EXPECT_THAT(ErrorOf("- a\n"), HasSubstr("the file: expected `key: value`"));
  EXPECT_THAT(ErrorOf("tenants:\n  - a\n"), HasSubstr("t.yaml:2: tenant: expected `key: value`"));
  EXPECT_EQ(ErrorOf("tenants:\r\n  - name: a\r\n"),
            "t.yaml:1: carriage return; save the file with LF line ends");
  EXPECT_THAT(ErrorOf("tenants: &a []\n"), HasSubstr("anchors are not allowed"));
  EXPECT_THAT(ErrorOf("a: *b\n"), HasSubstr("t.yaml:1: "));
  EXPECT_THAT(ErrorOf("tenants: !!str x\n"), HasSubstr("tags are not allowed"));
  EXPECT_THAT(ErrorOf("tenants: [\n"), HasSubstr("t.yaml:"));
  EXPECT_THAT(ErrorOf("tenants: []\ntenants: []\n"),
              HasSubstr("t.yaml:2: `tenants` was set in line 1 already"));
  EXPECT_THAT(ErrorOf("a: 1\n---\nb: 1\n"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(ErrorOf("? [a]\n: b\n"), HasSubstr("a key must be a word"));
  EXPECT_THAT(ErrorOf(std::string(100, '[')), HasSubstr("nested deeper than 8"));
  EXPECT_THAT(ErrorOf(absl::StrCat("a: [", std::string(2 * 140'000, ','), "]\n")), Not(""));
}

TEST(TenantsFile, TooManyTenantsAreRefused) {
  std::string text = "tenants:\n";
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&text, "  - name: t", i, "\n");
  EXPECT_EQ(ErrorOf(text), "t.yaml:2: 1001 tenants, the limit is 1000");
}

TEST(TenantsFile, TheFileIsNotOpenToEverybody) {
  for (const mode_t mode : {0604, 0602, 0601}) {
    const SecretFile file(OneTenant(""), mode);
    const auto read = ReadTenantsFile(file.path());
    ASSERT_FALSE(read.ok());
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(file.path()));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("open to everybody"));
  }
  const SecretFile file(OneTenant(""), 0640);
  EXPECT_TRUE(ReadTenantsFile(file.path()).ok());
  const std::string link = file.path() + "_link";
  ASSERT_EQ(symlink(file.path().c_str(), link.c_str()), 0);
  EXPECT_TRUE(ReadTenantsFile(link).ok());
  std::remove(link.c_str());
}

TEST(TenantsFile, EmptyLargeAndMissingFilesAreRefused) {
  {
    const SecretFile file("", 0600);
    EXPECT_THAT(std::string(ReadTenantsFile(file.path()).status().message()),
                HasSubstr("is empty"));
  }
  {
    const SecretFile file(std::string((1 << 20) + 1, '#'), 0600);
    EXPECT_THAT(std::string(ReadTenantsFile(file.path()).status().message()),
                HasSubstr("1048577 bytes, the limit is 1048576"));
  }
  EXPECT_TRUE(absl::IsNotFound(ReadTenantsFile("/nowhere/tenants.yaml").status()));
  EXPECT_THAT(std::string(ReadTenantsFile("/tmp").status().message()), HasSubstr("regular file"));
}

TEST(TenantsFile, TheExampleIsOne) {
  const auto text = ReadFile(PREFIXD_SOURCE_DIR "/deploy/tenants.example.yaml", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto file = ParseTenantsFile("example", *text);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tenants.size(), 2u);
  EXPECT_EQ(file->tokens->size(), 4u);
  EXPECT_TRUE(file->tokens->has_operators());
  EXPECT_EQ(file->tenants[1].retention.scope, RetentionScope::kShared);
}

TEST(ReloadTokens, TakesNoOtherRetention) {
  const auto error = [](const std::string& before, const std::string& after) {
    const SecretFile file(after, 0600);
    const auto running = ParseTenantsFile("t.yaml", before)->tenants;
    return std::string(
        ReloadTokens(file.path(), running, /*has_operators=*/false).status().message());
  };
  EXPECT_EQ(error(Retention("budget: 0.5"), Retention("budget: 0.50")), "");
  EXPECT_EQ(error(OneTenant("    retention: {}\n"), OneTenant("")), "");
  EXPECT_THAT(error(Retention("budget: 0.5"), Retention("budget: 0.25")),
              HasSubstr("tenant `acme`: retention: budget is 0.25, was 0.5; restart"));
  EXPECT_THAT(error(OneTenant(""), Retention("scope: exact")),
              HasSubstr("retention: scope is exact, was unset; restart"));
  EXPECT_THAT(error(Retention("policy: h2o"), OneTenant("")),
              HasSubstr("retention: policy is unset, was h2o; restart"));
  EXPECT_THAT(error(Retention("profile: a"), Retention("profile: b")),
              HasSubstr("retention: profile is b, was a; restart"));
  EXPECT_THAT(error(Retention("distance: -25"), Retention("distance: 25")),
              HasSubstr("retention: distance is 25, was -25; restart"));
}

TEST(ReloadTokens, TakesTokensAndNothingElse) {
  const auto before = ParseTenantsFile("t.yaml", OneTenant("    weight: 2\n"));
  ASSERT_TRUE(before.ok());
  const auto reload = [&](const std::string& text) {
    const SecretFile file(text, 0600);
    return ReloadTokens(file.path(), before->tenants, /*has_operators=*/false);
  };
  const std::string fresh =
      absl::StrCat("tenants:\n  - name: acme\n    token_sha256: ", Digest("new"), "\n");
  const auto tokens = reload(fresh + "    weight: 2\n");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ((*tokens)->Find("secret"), nullptr);
  EXPECT_EQ((*tokens)->Find("new")->tenant, "acme");
  EXPECT_THAT(std::string(reload(fresh).status().message()),
              HasSubstr("tenant `acme`: weight is 1, was 2; restart"));
  EXPECT_THAT(
      std::string(
          reload(absl::StrCat("tenants:\n  - name: b\n    token_sha256: ", Digest("b"), "\n"))
              .status()
              .message()),
      HasSubstr("tenant `b` is new; restart"));
  EXPECT_THAT(
      std::string(
          reload(absl::StrCat(fresh, "    weight: 2\nadmin:\n  token_sha256: ", Digest("r"), "\n"))
              .status()
              .message()),
      HasSubstr("operators' tokens are new; restart"));
}

}  // namespace
}  // namespace prefixd
