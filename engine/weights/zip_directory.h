// The entries of a zip file whose contents are stored as they are, which is what torch.save writes.
// Every range is proven to lie in the file and to be nobody else's; nothing is decompressed.
// Source: APPNOTE.TXT of PKWARE, 4.3 and 4.5.3 (zip64).
#ifndef PREFIXD_ENGINE_WEIGHTS_ZIP_DIRECTORY_H_
#define PREFIXD_ENGINE_WEIGHTS_ZIP_DIRECTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"

namespace prefixd {

inline constexpr uint64_t kMaxZipEntries = 200'000;
inline constexpr uint64_t kMaxZipDirectoryBytes = uint64_t{64} << 20;

struct ZipEntry {
  std::string name;
  uint64_t begin = 0;  // Of its bytes in the file.
  uint64_t size_bytes = 0;
};

// True if the file begins as a zip file does.
absl::StatusOr<bool> IsZipFile(const File& file);

// The entries in the order of their bytes. Errors: INVALID_ARGUMENT; UNIMPLEMENTED for compressed
// or encrypted entries and for archives in several files. The caller adds the file's name.
absl::StatusOr<std::vector<ZipEntry>> ReadZipDirectory(const File& file);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_ZIP_DIRECTORY_H_
