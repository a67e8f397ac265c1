// Writes a profile in the published form: DIR/prefixkv_NAME_R.json, R = 0.1 .. 0.9.
#ifndef PREFIXD_TOOLS_PROFILE_FILES_H_
#define PREFIXD_TOOLS_PROFILE_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd {

// "[0.25, 0.5]" and a line feed: as Python writes a list, with digits enough to read the same
// numbers back.
std::string ProfileText(absl::Span<const double> ratios);

// "prefixkv_cats_0.3.json"
std::string ProfileFileName(absl::string_view name, int tenths);

// Whether `name` may name a profile: [A-Za-z0-9._-]{1,64}, not "." or "..".
bool IsProfileName(absl::string_view name);

// Writes the nine files into an existing directory, each atomically; `profile` is by forget ratio
// (1 to 9 tenths), by layer. Every file is read as the engine would before any is written.
// Errors: INVALID_ARGUMENT of RetentionProfile::ParseFile, of the name, and of writing.
absl::Status WriteProfile(const std::string& directory, absl::string_view name,
                          absl::Span<const std::vector<double>> profile);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_PROFILE_FILES_H_
