// Reads what the command line names: class names, patterns of pictures, demonstrations.
#ifndef PREFIXD_CLIENT_PREFIXCTL_NAMES_INPUT_H_
#define PREFIXD_CLIENT_PREFIXCTL_NAMES_INPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/prefixctl/classification.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

// "cat, dog": names without the spaces around them. Errors: INVALID_ARGUMENT for an empty one.
absl::StatusOr<std::vector<std::string>> SplitNames(absl::string_view text);

// A name on each line, without its line feed (or CR LF); empty lines are skipped.
std::vector<std::string> NamesOfLines(absl::string_view text);

// The names that the command line gives, by itself or in a file of at most 16 MiB.
// Errors: INVALID_ARGUMENT, of fewer than two names too; those of ReadFile.
absl::StatusOr<std::vector<std::string>> ReadNames(const Classification& classification);

// The most pictures of one command: a stream of the server takes twice as many requests, and each
// picture may have to be sent again.
inline constexpr size_t kMaxPictures = 50'000;

// `words` with those that are patterns (of `*`, `?` or `[`) and no files replaced by the files that
// match, in order (glob(3)). Errors: INVALID_ARGUMENT if none matches, or above kMaxPictures.
absl::StatusOr<std::vector<std::string>> ExpandPatterns(const std::vector<std::string>& words);

// The solved examples of a file of JSON lines with the keys image (a path, from the file's folder),
// text and label, of which label is required. Errors: INVALID_ARGUMENT, naming the line.
absl::StatusOr<std::vector<v1::Demonstration>> ReadDemonstrations(const std::string& path);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_NAMES_INPUT_H_
