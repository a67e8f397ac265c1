#include <cerrno>
#include <cstring>

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/file.h"
#include "client/prefixctl/ask.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kMaxImageBytes = size_t{32} << 20;

absl::Status Unreadable(absl::string_view path, absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, "IMAGE_UNREADABLE",
                   absl::StrCat("image ", path, ": ", why), {{"path", std::string(path)}});
}

}  // namespace

absl::StatusOr<std::string> ReadStdin(size_t max_bytes) {
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::InvalidArgumentError(absl::StrCat("stdin: ", std::strerror(errno)));
    if (n == 0) return bytes;
    if (bytes.size() + static_cast<size_t>(n) > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("stdin has more than ", max_bytes, " bytes"));
    }
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

absl::StatusOr<std::string> ReadImage(const std::string& path) {
  auto bytes = path == "-" ? ReadStdin(kMaxImageBytes) : ReadFile(path, kMaxImageBytes);
  if (!bytes.ok()) return Unreadable(path, bytes.status().message());
  if (bytes->empty()) return Unreadable(path, "it is empty");
  return bytes;
}

}  // namespace prefixd::ctl
