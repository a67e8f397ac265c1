#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

// Between the name of a file and the id of the process that writes it.
constexpr char kTemporaryMark[] = ".tmp.";

absl::Status ErrnoError(absl::string_view what, const std::string& path) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

int64_t ModifiedNs(const struct stat& info) {
  return info.st_mtim.tv_sec * int64_t{1'000'000'000} + info.st_mtim.tv_nsec;
}

}  // namespace

absl::StatusOr<File> File::Open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  File file;
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return ErrnoError("cannot open", path);
  struct stat info;
  if (::fstat(file.fd_, &info) != 0) return ErrnoError("cannot stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  file.size_bytes_ = static_cast<uint64_t>(info.st_size);
  file.permissions_ = info.st_mode & 0777;
  file.modified_ns_ = ModifiedNs(info);
  file.path_ = path;
  return file;
}

File::File(File&& other) noexcept { *this = std::move(other); }

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(permissions_, other.permissions_);
  std::swap(modified_ns_, other.modified_ns_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status File::ReadAt(uint64_t offset, absl::Span<uint8_t> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("cannot read", path_);
    if (n == 0) {
      return absl::OutOfRangeError(absl::StrCat(path_, ": ends at byte ", offset + done,
                                                ", expected ", offset + out.size()));
    }
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status File::CheckUnchanged() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) return ErrnoError("cannot stat", path_);
  if (static_cast<uint64_t>(info.st_size) != size_bytes_ || ModifiedNs(info) != modified_ns_) {
    return absl::AbortedError(absl::StrCat(path_, ": changed while it was read"));
  }
  return absl::OkStatus();
}

namespace {

absl::StatusOr<std::string> ReadWhole(const File& file, size_t max_bytes) {
  if (file.size_bytes() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", file.size_bytes(), " bytes, the limit is ", max_bytes));
  }
  std::string bytes(file.size_bytes(), '\0');
  PREFIXD_RETURN_IF_ERROR(
      file.ReadAt(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  PREFIXD_ASSIGN_OR_RETURN(const File file, File::Open(path));
  return ReadWhole(file, max_bytes);
}

absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t max_bytes) {
  PREFIXD_ASSIGN_OR_RETURN(const File file, File::Open(path));
  if ((file.permissions() & 07) != 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        path, ": has mode 0", file.permissions() >> 6, (file.permissions() >> 3) & 7,
        file.permissions() & 7, ", open to everybody; it holds secrets: chmod o-rwx it"));
  }
  if (file.size_bytes() == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
  return ReadWhole(file, max_bytes);
}

bool FileExists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

absl::Status WriteFileAtomically(const std::string& path, absl::Span<const uint8_t> bytes) {
  const std::string temporary = absl::StrCat(path, kTemporaryMark, ::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoError("cannot create", temporary);
  size_t done = 0;
  bool ok = true;
  while (ok && done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    ok = n > 0;
    if (ok) done += static_cast<size_t>(n);
  }
  ok = ok && ::fsync(fd) == 0;
  absl::Status status = ok ? absl::OkStatus() : ErrnoError("cannot write", temporary);
  ::close(fd);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoError("cannot rename to", path);
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

bool IsTemporaryOfAtomicWrite(absl::string_view name) {
  const size_t mark = name.rfind(kTemporaryMark);
  if (mark == absl::string_view::npos) return false;
  const absl::string_view process = name.substr(mark + sizeof(kTemporaryMark) - 1);
  return !process.empty() && process.find_first_not_of("0123456789") == absl::string_view::npos;
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open", path);
  // EINVAL: a file system whose directories cannot be synced.
  const bool ok = ::fsync(fd) == 0 || errno == EINVAL;
  const absl::Status status = ok ? absl::OkStatus() : ErrnoError("cannot sync", path);
  ::close(fd);
  return status;
}

}  // namespace prefixd
