#include "client/prefixctl/credentials.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kMaxTokenFileBytes = 4096 + 16;  // The longest token, and line ends.
constexpr size_t kMaxPemBytes = 1 << 20;

// The one word of `text`; `source` stands in the error.
absl::StatusOr<std::string> OneWord(absl::string_view source, absl::string_view text) {
  const absl::string_view word = absl::StripAsciiWhitespace(text);
  if (word.empty()) return absl::InvalidArgumentError(absl::StrCat(source, ": holds no token"));
  for (const char c : word) {
    if (!absl::ascii_isgraph(c)) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": a token is one word of printable characters"));
    }
  }
  return std::string(word);
}

absl::StatusOr<std::string> Token(const Options& options, const Environment& environment) {
  if (!options.token_file.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string text,
                             ReadSecretFile(options.token_file, kMaxTokenFileBytes));
    return OneWord(options.token_file, text);
  }
  const char* const value = environment("PREFIXD_TOKEN");
  if (value == nullptr || *value == '\0') return std::string();
  return OneWord("PREFIXD_TOKEN", value);
}

absl::StatusOr<std::string> Pem(const std::string& path, bool secret) {
  if (path.empty()) return std::string();
  return secret ? ReadSecretFile(path, kMaxPemBytes) : ReadFile(path, kMaxPemBytes);
}

}  // namespace

absl::StatusOr<ClientOptions> MakeClientOptions(const Options& options,
                                                const Environment& environment) {
  ClientOptions made;
  PREFIXD_ASSIGN_OR_RETURN(made.token, Token(options, environment));
  made.insecure = options.insecure;
  made.admin_server = options.admin_server;
  made.tls.enabled = options.tls || !options.tls_ca.empty() || !options.tls_cert.empty() ||
                     !options.tls_key.empty();
  PREFIXD_ASSIGN_OR_RETURN(made.tls.ca, Pem(options.tls_ca, /*secret=*/false));
  PREFIXD_ASSIGN_OR_RETURN(made.tls.cert, Pem(options.tls_cert, /*secret=*/false));
  PREFIXD_ASSIGN_OR_RETURN(made.tls.key, Pem(options.tls_key, /*secret=*/true));
  return made;
}

}  // namespace prefixd::ctl
