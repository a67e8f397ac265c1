// Pictures with a question and a reference answer, from files in one of two forms:
//
//   LLaVA:  [{"id": .., "image": "a.jpg", "conversations": [{"from": "human", "value":
//             "<image>\nWhat is this?"}, {"from": "gpt", "value": "A cat."}, ..]}, ..]
//   plain:  [{"file": "a.jpg", "question": "What is this?", "reference_answer": "A cat."}, ..]
//
// Of a conversation the first question and answer are taken. Other keys are ignored.
#ifndef PREFIXD_TOOLS_DATASET_H_
#define PREFIXD_TOOLS_DATASET_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

struct Sample {
  std::string id;     // As the file has it; for messages only, need not be unique.
  std::string image;  // Path of the picture; empty: a question without one.
  std::string question;
  std::string answer;  // Not empty.
};

enum class DatasetHalf { kAll, kFirst, kSecond };

struct DatasetOptions {
  std::string path;
  std::string images;                    // The directory of the pictures; empty: that of `path`.
  DatasetHalf half = DatasetHalf::kAll;  // Of n entries the first is n / 2 long, rounded down.
  size_t limit = 0;                      // Takes so many of them; 0: all.
};

struct Dataset {
  static constexpr size_t kMaxFileBytes = 256 << 20;
  static constexpr size_t kMaxEntries = 200'000;
  static constexpr size_t kMaxTextBytes = 64 << 10;  // Of one question or answer.

  std::vector<Sample> samples;  // In the file's order; not empty.
  std::string digest;           // SHA-256 of the file, hexadecimal.
};

// Reads the file and checks every entry, taken or not. Errors: those of reading; INVALID_ARGUMENT
// that names file, entry (from 0) and field: a wrong type, a missing key, an empty answer, a text
// that is too long, a picture whose path is absolute, has a ".." or is no file, no entry left.
// Pictures are not read.
absl::StatusOr<Dataset> LoadDataset(const DatasetOptions& options);

// The same of the file's text; pictures need not exist. `name` stands in errors.
absl::StatusOr<std::vector<Sample>> ParseDataset(absl::string_view name, absl::string_view text,
                                                 const std::string& images);

// The path of a picture that is named in a file, below the directory `images`. Errors:
// INVALID_ARGUMENT, without names: empty, a zero byte, absolute, a part "..".
absl::StatusOr<std::string> PicturePath(const std::string& path, const std::string& images);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_DATASET_H_
