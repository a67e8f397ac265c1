#include "tools/dataset.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr absl::string_view kPlaceholder = "<image>";

// One entry of the file, for messages.
struct Entry {
  absl::string_view file;
  size_t index;

  absl::Status Error(absl::string_view field, absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": entry ", index, ": ", field, ": ", problem));
  }
};

absl::StatusOr<std::string> Text(const Entry& entry, const json& object, const char* key,
                                 absl::string_view field) {
  const auto found = object.find(key);
  if (found == object.end()) return entry.Error(field, "is missing");
  if (!found->is_string()) return entry.Error(field, "is no string");
  const std::string& text = found->get_ref<const std::string&>();
  if (text.size() > Dataset::kMaxTextBytes) {
    return entry.Error(field,
                       absl::StrCat(text.size(), " bytes, the limit is ", Dataset::kMaxTextBytes));
  }
  return text;
}

absl::StatusOr<std::string> ImagePath(const Entry& entry, const json& object, const char* key,
                                      const std::string& images) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string path, Text(entry, object, key, key));
  absl::StatusOr<std::string> full = PicturePath(path, images);
  if (!full.ok()) return entry.Error(key, full.status().message());
  return full;
}

// The text of one turn of a conversation.
absl::StatusOr<std::string> Turn(const Entry& entry, const json& turns, size_t index,
                                 absl::string_view from) {
  const std::string field = absl::StrCat("conversations[", index, "]");
  const json& turn = turns[index];
  if (!turn.is_object()) return entry.Error(field, "is no object");
  PREFIXD_ASSIGN_OR_RETURN(const std::string speaker,
                           Text(entry, turn, "from", absl::StrCat(field, ".from")));
  if (speaker != from) {
    return entry.Error(absl::StrCat(field, ".from"),
                       absl::StrCat("\"", speaker.substr(0, 64), "\", expected \"", from, "\""));
  }
  return Text(entry, turn, "value", absl::StrCat(field, ".value"));
}

// Takes the placeholder out of the question, with the white space around it.
absl::Status TakePlaceholder(const Entry& entry, bool has_image, std::string* question) {
  constexpr char kField[] = "conversations[0].value";
  const std::vector<absl::string_view> parts = absl::StrSplit(*question, kPlaceholder);
  if (parts.size() > 2) return entry.Error(kField, "has several <image>, one is supported");
  if (parts.size() == 2 && !has_image)
    return entry.Error(kField, "has <image>, but no image is named");
  if (parts.size() == 1 && has_image) return entry.Error(kField, "has no <image>");
  if (parts.size() == 1) return absl::OkStatus();
  const absl::string_view before = absl::StripTrailingAsciiWhitespace(parts[0]);
  const absl::string_view after = absl::StripLeadingAsciiWhitespace(parts[1]);
  *question = absl::StrCat(before, !before.empty() && !after.empty() ? "\n" : "", after);
  return absl::OkStatus();
}

absl::StatusOr<Sample> ParseConversation(const Entry& entry, const json& object,
                                         const std::string& images) {
  Sample sample{.id = absl::StrCat(entry.index)};
  if (const auto id = object.find("id"); id != object.end()) {
    if (!id->is_string() && !id->is_number_integer()) {
      return entry.Error("id", "is neither a string nor an integer");
    }
    sample.id = id->is_string() ? id->get<std::string>() : id->dump();
    sample.id = sample.id.substr(0, 128);
  }
  const bool has_image = object.contains("image");
  if (has_image) {
    PREFIXD_ASSIGN_OR_RETURN(sample.image, ImagePath(entry, object, "image", images));
  }
  const json& turns = object["conversations"];
  if (!turns.is_array() || turns.size() < 2) {
    return entry.Error("conversations", "is no list of two turns or more");
  }
  PREFIXD_ASSIGN_OR_RETURN(sample.question, Turn(entry, turns, 0, "human"));
  PREFIXD_ASSIGN_OR_RETURN(sample.answer, Turn(entry, turns, 1, "gpt"));
  PREFIXD_RETURN_IF_ERROR(TakePlaceholder(entry, has_image, &sample.question));
  if (sample.answer.empty()) return entry.Error("conversations[1].value", "is empty");
  return sample;
}

absl::StatusOr<Sample> ParsePlain(const Entry& entry, const json& object,
                                  const std::string& images) {
  Sample sample;
  PREFIXD_ASSIGN_OR_RETURN(sample.image, ImagePath(entry, object, "file", images));
  sample.id = object["file"].get<std::string>().substr(0, 128);
  PREFIXD_ASSIGN_OR_RETURN(sample.question, Text(entry, object, "question", "question"));
  PREFIXD_ASSIGN_OR_RETURN(sample.answer,
                           Text(entry, object, "reference_answer", "reference_answer"));
  if (sample.answer.empty()) return entry.Error("reference_answer", "is empty");
  return sample;
}

absl::StatusOr<Sample> ParseEntry(const Entry& entry, const json& object,
                                  const std::string& images) {
  if (!object.is_object()) return entry.Error("entry", "is no object");
  if (object.contains("conversations")) return ParseConversation(entry, object, images);
  if (object.contains("file")) return ParsePlain(entry, object, images);
  return entry.Error("entry", "has neither \"conversations\" nor \"file\"");
}

// What the options take of all samples.
void Choose(const DatasetOptions& options, std::vector<Sample>* samples) {
  const auto middle = samples->begin() + static_cast<ptrdiff_t>(samples->size() / 2);
  if (options.half == DatasetHalf::kFirst) samples->erase(middle, samples->end());
  if (options.half == DatasetHalf::kSecond) samples->erase(samples->begin(), middle);
  if (options.limit > 0 && samples->size() > options.limit) samples->resize(options.limit);
}

}  // namespace

absl::StatusOr<std::string> PicturePath(const std::string& path, const std::string& images) {
  if (path.empty()) return absl::InvalidArgumentError("is empty");
  if (path.find('\0') != std::string::npos) return absl::InvalidArgumentError("has a zero byte");
  const std::string shown = absl::StrCat("\"", path.substr(0, 128), "\"");
  if (path[0] == '/')
    return absl::InvalidArgumentError(absl::StrCat(shown, " is an absolute path"));
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") {
      return absl::InvalidArgumentError(absl::StrCat(shown, " leads out of the directory"));
    }
  }
  return (std::filesystem::path(images) / path).string();
}

absl::StatusOr<std::vector<Sample>> ParseDataset(absl::string_view name, absl::string_view text,
                                                 const std::string& images) {
  absl::StatusOr<json> parsed = ParseJson(text);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", parsed.status().message()));
  }
  const json& list = *parsed;
  if (!list.is_array()) return absl::InvalidArgumentError(absl::StrCat(name, ": is no list"));
  if (list.size() > Dataset::kMaxEntries) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", list.size(), " entries, the limit is ", Dataset::kMaxEntries));
  }
  std::vector<Sample> samples;
  for (size_t i = 0; i < list.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(Sample sample, ParseEntry({name, i}, list[i], images));
    samples.push_back(std::move(sample));
  }
  return samples;
}

absl::StatusOr<Dataset> LoadDataset(const DatasetOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.path, Dataset::kMaxFileBytes));
  const std::string images = options.images.empty()
                                 ? std::filesystem::path(options.path).parent_path().string()
                                 : options.images;
  Dataset dataset;
  PREFIXD_ASSIGN_OR_RETURN(dataset.samples, ParseDataset(options.path, text, images));
  Choose(options, &dataset.samples);
  if (dataset.samples.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.path, ": no entry is left to use"));
  }
  for (const Sample& sample : dataset.samples) {
    if (sample.image.empty()) continue;
    const absl::StatusOr<File> file = File::Open(sample.image);
    if (!file.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(options.path, ": entry \"", sample.id,
                                                     "\": image: ", file.status().message()));
    }
  }
  dataset.digest = ToHex(Sha256Of(text));
  return dataset;
}

}  // namespace prefixd
