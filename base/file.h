// Regular files read with a limit. No mapping is kept, no special file is opened for reading.
#ifndef PREFIXD_BASE_FILE_H_
#define PREFIXD_BASE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd {

// An open regular file. Move-only; closes itself. ReadAt is safe from several threads.
class File {
 public:
  // Errors: NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT for anything but a regular file.
  static absl::StatusOr<File> Open(const std::string& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  uint64_t size_bytes() const { return size_bytes_; }
  uint32_t permissions() const { return permissions_; }  // 0 to 0777.
  const std::string& path() const { return path_; }

  // Fills `out` from byte `offset`. Errors: OUT_OF_RANGE if the file ends before.
  absl::Status ReadAt(uint64_t offset, absl::Span<uint8_t> out) const;

  // Errors: ABORTED if the file's size or modification time is not what it was at Open.
  absl::Status CheckUnchanged() const;

 private:
  File() = default;

  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  uint32_t permissions_ = 0;
  int64_t modified_ns_ = 0;
  std::string path_;
};

// The whole of a regular file of at most `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

// As ReadFile, of a file that holds secrets. Errors also: PERMISSION_DENIED if everybody may read,
// write or execute it, INVALID_ARGUMENT if it is empty.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t max_bytes);

bool FileExists(const std::string& path);

// Writes `bytes` to a temporary file beside `path`, syncs it and renames it over `path`.
absl::Status WriteFileAtomically(const std::string& path, absl::Span<const uint8_t> bytes);

// Whether a file is a temporary one of WriteFileAtomically, by its name alone.
bool IsTemporaryOfAtomicWrite(absl::string_view name);

// What was created, renamed and removed in the directory is on disk when it returns.
absl::Status SyncDirectory(const std::string& path);

}  // namespace prefixd

#endif  // PREFIXD_BASE_FILE_H_
