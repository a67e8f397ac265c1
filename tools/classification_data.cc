#include "tools/classification_data.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "tools/dataset.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

absl::Status TooMany(absl::string_view what, absl::string_view of, size_t count, size_t limit) {
  return absl::InvalidArgumentError(
      absl::StrCat(of, ": ", count, " ", what, ", the limit is ", limit));
}

bool IsPicture(const fs::path& path) {
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

// What is in a directory, by name, without what is hidden.
absl::StatusOr<std::vector<fs::path>> List(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (auto it = fs::directory_iterator(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (it->path().filename().string()[0] != '.') entries.push_back(it->path());
    if (entries.size() > ClassificationData::kMaxEntries) {
      return TooMany("entries", directory.string(), entries.size(),
                     ClassificationData::kMaxEntries);
    }
  }
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory.string(), ": cannot be listed: ", error.message()));
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

absl::StatusOr<std::vector<LabelledPicture>> LoadFolders(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<fs::path> folders, List(path));
  std::vector<LabelledPicture> samples;
  for (const fs::path& folder : folders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) continue;
    const std::string name = folder.filename().string();
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<fs::path> files, List(folder));
    for (const fs::path& file : files) {
      if (!IsPicture(file)) continue;
      samples.push_back({.id = absl::StrCat(name, "/", file.filename().string()),
                         .image = file.string(),
                         .label = absl::StrReplaceAll(name, {{"_", " "}})});
      if (samples.size() > ClassificationData::kMaxEntries) {
        return TooMany("pictures", path, samples.size(), ClassificationData::kMaxEntries);
      }
    }
  }
  return samples;
}

// One line of the file, for messages.
struct Line {
  absl::string_view file;
  size_t number;  // From 1.

  absl::Status Error(absl::string_view field, absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", number, ": ", field, ": ", problem));
  }
};

// Empty where the key is missing.
absl::StatusOr<std::string> Text(const Line& line, const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return "";
  if (!found->is_string()) return line.Error(key, "is no string");
  const std::string& text = found->get_ref<const std::string&>();
  if (text.size() > ClassificationData::kMaxTextBytes) {
    return line.Error(
        key, absl::StrCat(text.size(), " bytes, the limit is ", ClassificationData::kMaxTextBytes));
  }
  return text;
}

absl::StatusOr<std::string> Label(const Line& line, const json& object,
                                  absl::Span<const std::string> names) {
  const auto found = object.find("label");
  if (found == object.end()) return line.Error("label", "is missing");
  if (!found->is_number_integer()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string label, Text(line, object, "label"));
    if (label.empty()) return line.Error("label", "is empty");
    return label;
  }
  if (names.empty()) return line.Error("label", "is a number, and no names are given");
  if (!found->is_number_unsigned() || found->get<uint64_t>() >= names.size()) {
    return line.Error("label",
                      absl::StrCat(found->dump(), " is not in [0, ", names.size() - 1, "]"));
  }
  return names[found->get<size_t>()];
}

absl::StatusOr<LabelledPicture> ParseLine(const Line& line, absl::string_view text,
                                          const std::string& images,
                                          absl::Span<const std::string> names) {
  const absl::StatusOr<json> object = ParseJson(text);
  if (!object.ok()) return line.Error("JSON", object.status().message());
  if (!object->is_object()) return line.Error("JSON", "is no object");
  LabelledPicture sample{.id = absl::StrCat("line ", line.number)};
  const char* const key = object->contains("image") ? "image" : "img";
  if (object->contains(key)) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string path, Text(line, *object, key));
    const absl::StatusOr<std::string> full = PicturePath(path, images);
    if (!full.ok()) return line.Error(key, full.status().message());
    sample.id = path;
    sample.image = *full;
  }
  PREFIXD_ASSIGN_OR_RETURN(sample.text, Text(line, *object, "text"));
  if (sample.image.empty() && sample.text.empty()) {
    return line.Error("line", "has neither \"image\" nor \"text\"");
  }
  PREFIXD_ASSIGN_OR_RETURN(sample.label, Label(line, *object, names));
  return sample;
}

absl::StatusOr<std::vector<std::string>> LoadNames(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text,
                           ReadFile(path, ClassificationData::kMaxFileBytes));
  std::vector<std::string> names = absl::StrSplit(text, '\n');
  if (!names.empty() && names.back().empty()) names.pop_back();
  if (names.size() > ClassificationData::kMaxNames) {
    return TooMany("names", path, names.size(), ClassificationData::kMaxNames);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = std::string(absl::StripSuffix(names[i], "\r"));
    if (names[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": line ", i + 1, ": is empty"));
    }
  }
  return names;
}

absl::Status FindLabels(const std::string& path, ClassificationData* data) {
  absl::flat_hash_map<std::string, int32_t> indices;
  for (size_t i = 0; i < data->names.size(); ++i) {
    indices.emplace(data->names[i], static_cast<int32_t>(i));
  }
  for (const LabelledPicture& sample : data->samples) {
    const auto found = indices.find(sample.label);
    if (found == indices.end()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", sample.id, ": label \"",
                                                     sample.label, "\" is none of the ",
                                                     data->names.size(), " names"));
    }
    data->labels.push_back(found->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> DigestOf(const std::string& path, const ClassificationData& data) {
  Sha256 hash;
  const auto add = [&hash](const std::string& text) {
    hash.Update(uint64_t{text.size()}).Update(text);
  };
  hash.Update(uint64_t{data.names.size()});
  for (const std::string& name : data.names) add(name);
  for (const LabelledPicture& sample : data.samples) {
    uint64_t size = 0;
    if (!sample.image.empty()) {
      const absl::StatusOr<File> file = File::Open(sample.image);
      if (!file.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": ", sample.id, ": image: ", file.status().message()));
      }
      size = file->size_bytes();
    }
    hash.Update(size);
    for (const std::string* text : {&sample.id, &sample.text, &sample.label}) add(*text);
  }
  return ToHex(hash.Finish());
}

}  // namespace

absl::StatusOr<std::vector<LabelledPicture>> ParseLabelledLines(
    absl::string_view name, absl::string_view text, const std::string& images,
    absl::Span<const std::string> names) {
  std::vector<LabelledPicture> samples;
  size_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    if (samples.size() == ClassificationData::kMaxEntries) {
      return TooMany("lines and more", name, samples.size(), ClassificationData::kMaxEntries);
    }
    PREFIXD_ASSIGN_OR_RETURN(LabelledPicture sample,
                             ParseLine({name, number}, line, images, names));
    samples.push_back(std::move(sample));
  }
  return samples;
}

absl::StatusOr<std::vector<LabelledPicture>> LoadLabelledLines(
    const std::string& path, const std::string& images, absl::Span<const std::string> names) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text,
                           ReadFile(path, ClassificationData::kMaxFileBytes));
  return ParseLabelledLines(path, text,
                            images.empty() ? fs::path(path).parent_path().string() : images, names);
}

absl::StatusOr<ClassificationData> LoadClassificationData(
    const ClassificationDataOptions& options) {
  ClassificationData data;
  data.names = options.usual_names;
  if (!options.names.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(data.names, LoadNames(options.names));
  }
  std::error_code error;
  if (fs::is_directory(options.path, error)) {
    PREFIXD_ASSIGN_OR_RETURN(data.samples, LoadFolders(options.path));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(data.samples,
                             LoadLabelledLines(options.path, options.images, data.names));
  }
  if (data.samples.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.path, ": no picture with a label"));
  }
  if (data.names.empty()) {
    std::set<std::string> found;
    for (const LabelledPicture& sample : data.samples) found.insert(sample.label);
    data.names.assign(found.begin(), found.end());
  }
  if (data.names.size() < 2 || data.names.size() > ClassificationData::kMaxNames) {
    return absl::InvalidArgumentError(absl::StrCat(options.path, ": ", data.names.size(),
                                                   " names, expected 2 to ",
                                                   ClassificationData::kMaxNames));
  }
  PREFIXD_RETURN_IF_ERROR(FindLabels(options.path, &data));
  PREFIXD_ASSIGN_OR_RETURN(data.digest, DigestOf(options.path, data));
  return data;
}

std::vector<size_t> Draw(size_t total, size_t count, uint64_t seed) {
  std::vector<size_t> order(total);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  const size_t drawn = std::min(total, count);
  for (size_t i = 0; i < drawn; ++i) {
    std::swap(order[i], order[i + static_cast<size_t>(random() % (total - i))]);
  }
  order.resize(drawn);
  return order;
}

}  // namespace prefixd
