// What names and class sets may be. Field paths in errors are those of the proto
// (`prefixd.v1.CreateClassSetRequest`); every error here is INVALID_ARGUMENT with the first field
// that is wrong: PARAMETER_OUT_OF_RANGE with both numbers, or INPUT_INVALID. Pure functions; safe
// from any thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_CHECK_CLASS_SET_H_
#define PREFIXD_ENGINE_CLASSIFY_CHECK_CLASS_SET_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/classification.h"
#include "engine/classify/class_set_store.h"

namespace prefixd {

inline constexpr char kClassSetCollection[] = "classSets/";  // In front of the id in a name.
inline constexpr size_t kMaxClassSetIdBytes = 63;
inline constexpr size_t kMaxLabelPrefixBytes = 256;
inline constexpr size_t kMaxPromptTextBytes = 65536;    // Of each text but names and labels.
inline constexpr size_t kMaxStoredTenantBytes = 127;    // Twice as many are a file name.
inline constexpr size_t kMaxEmbeddingModelBytes = 256;  // Of a model's digest.
inline constexpr uint64_t kMaxEmbeddingDim = 16384;

// 1..63 of [a-z0-9-].
bool IsClassSetId(absl::string_view id);

// At least 2 and at most options.max_names names, each 1..options.max_name_bytes bytes of UTF-8
// without NUL. `field` is the path of the list: "names", "names.names".
absl::Status CheckNames(absl::string_view field, absl::Span<const std::string> names,
                        const ClassificationOptions& options);

// At most kMaxLabelPrefixBytes of UTF-8 without NUL.
absl::Status CheckLabelPrefix(absl::string_view field, absl::string_view label_prefix);

// Texts of at most kMaxPromptTextBytes of UTF-8.
absl::Status CheckClassPrompt(absl::string_view field, const ClassPrompt& prompt);

// A set that somebody wants to create; pictures may be there by digest alone. Its texts, names and
// pictures together: options.max_set_bytes. Labels are like names.
absl::Status CheckClassSetSpec(const ClassSetSpec& spec, const ClassificationOptions& options);

// A set as it is stored: also that pictures have their bytes, and that embeddings are finite, one
// for each demonstration, all of one length (or that there are none).
absl::Status CheckStoredClassSet(const StoredClassSet& set, const ClassificationOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_CHECK_CLASS_SET_H_
