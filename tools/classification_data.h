// Pictures with labels, in one of two forms:
//
//   a directory    one folder a class, named as the class with "_" for spaces; .jpg, .jpeg and .png
//                  files in it
//   JSON lines     {"image": "a.jpg", "text": "what is written on it", "label": "yes"}
//                  "img" is as good as "image", one of image and text may be missing; a label may
//                  be a number, the index of the name. Other keys are ignored.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_DATA_H_
#define PREFIXD_TOOLS_CLASSIFICATION_DATA_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd {

struct LabelledPicture {
  std::string id;     // Its path as the data has it, or "line N"; for messages and results.
  std::string image;  // Path; empty: none.
  std::string text;
  std::string label;
};

struct ClassificationDataOptions {
  std::string path;
  std::string images;  // Directory of the pictures of JSON lines; empty: the file's.
  std::string names;   // File with a name a line; empty: `usual_names`.
  std::vector<std::string> usual_names;  // Empty: the labels found, in byte order.
};

struct ClassificationData {
  static constexpr size_t kMaxFileBytes = 256 << 20;
  static constexpr size_t kMaxEntries = 200'000;
  static constexpr size_t kMaxTextBytes = 64 << 10;  // Of one text or label.
  static constexpr size_t kMaxNames = 10'000;

  std::vector<std::string> names;        // At least 2.
  std::vector<LabelledPicture> samples;  // In order of class folder and file, or of lines.
  std::vector<int32_t> labels;           // [samples] Index of the first name that is the label.
  std::string digest;  // Over names, and over paths, sizes of pictures, texts and labels.
};

// Reads everything but the pictures, which must exist. Errors: those of reading; INVALID_ARGUMENT
// naming file, line or picture, and field: what is missing, too long, too many, a label that is no
// name.
absl::StatusOr<ClassificationData> LoadClassificationData(const ClassificationDataOptions& options);

// Of JSON lines alone, as they stand; labels need not be among `names`.
absl::StatusOr<std::vector<LabelledPicture>> LoadLabelledLines(const std::string& path,
                                                               const std::string& images,
                                                               absl::Span<const std::string> names);

// The same of the file's text; pictures need not exist. `name` stands in errors.
absl::StatusOr<std::vector<LabelledPicture>> ParseLabelledLines(
    absl::string_view name, absl::string_view text, const std::string& images,
    absl::Span<const std::string> names);

// `count` of the indices 0 .. total - 1 in random order, all if there are fewer; the first of a
// longer draw with the same seed.
std::vector<size_t> Draw(size_t total, size_t count, uint64_t seed);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CLASSIFICATION_DATA_H_
