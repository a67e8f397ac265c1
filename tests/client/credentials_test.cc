// Where prefixctl takes its token and certificates from.
#include "client/prefixctl/credentials.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

class TempFile {
 public:
  explicit TempFile(const std::string& text, mode_t mode = 0600)
      : path_(absl::StrCat(::testing::TempDir(), "/credentials_test_", getpid())) {
    std::ofstream(path_) << text;
    EXPECT_EQ(chmod(path_.c_str(), mode), 0);
  }
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

const char* Nothing(const char*) { return nullptr; }
const char* TokenInEnvironment(const char* name) {
  return std::strcmp(name, "PREFIXD_TOKEN") == 0 ? "from-environment" : nullptr;
}

TEST(Credentials, TheTokenIsTheWordInTheFile) {
  const TempFile file("  sesame-1 \r\n");
  const auto made = MakeClientOptions({.token_file = file.path()}, TokenInEnvironment);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->token, "sesame-1");
}

TEST(Credentials, WithoutAFileItIsThatOfTheEnvironment) {
  EXPECT_EQ(MakeClientOptions({}, TokenInEnvironment)->token, "from-environment");
  EXPECT_EQ(MakeClientOptions({}, Nothing)->token, "");
}

TEST(Credentials, ABadTokenFileIsNamedAndNotShown) {
  const auto error = [](const std::string& text, mode_t mode) {
    const TempFile file(text, mode);
    const auto made = MakeClientOptions({.token_file = file.path()}, Nothing);
    EXPECT_FALSE(made.ok());
    EXPECT_TRUE(absl::StrContains(made.status().message(), file.path()));
    EXPECT_FALSE(absl::StrContains(made.status().message(), "sesame")) << made.status();
    return std::string(made.status().message());
  };
  EXPECT_TRUE(absl::StrContains(error("sesame", 0644), "open to everybody"));
  EXPECT_TRUE(absl::StrContains(error("", 0600), "is empty"));
  EXPECT_TRUE(absl::StrContains(error(" \n", 0600), "holds no token"));
  EXPECT_TRUE(absl::StrContains(error("sesame one", 0600), "one word"));
  EXPECT_TRUE(absl::StrContains(error("ses\name", 0600), "one word"));
  EXPECT_TRUE(absl::StrContains(error(std::string(5000, 'x'), 0600), "the limit is"));
  EXPECT_FALSE(MakeClientOptions({.token_file = "/nowhere/token"}, Nothing).ok());
}

TEST(Credentials, ACertificateFileTurnsTlsOn) {
  EXPECT_FALSE(MakeClientOptions({}, Nothing)->tls.enabled);
  EXPECT_TRUE(MakeClientOptions({.tls = true}, Nothing)->tls.enabled);
  const TempFile file("PEM");
  const auto ca = MakeClientOptions({.tls_ca = file.path()}, Nothing);
  EXPECT_TRUE(ca->tls.enabled);
  EXPECT_EQ(ca->tls.ca, "PEM");
  const auto pair = MakeClientOptions({.tls_cert = file.path(), .tls_key = file.path()}, Nothing);
  EXPECT_TRUE(pair->tls.enabled);
  EXPECT_EQ(pair->tls.cert, "PEM");
  EXPECT_EQ(pair->tls.key, "PEM");
  EXPECT_FALSE(MakeClientOptions({.tls_ca = "/nowhere/ca.pem"}, Nothing).ok());
}

}  // namespace
}  // namespace prefixd::ctl
