#include "client/prefixctl/names_input.h"

#include <glob.h>

#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "client/prefixctl/ask.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kMaxNamesFileBytes = size_t{16} << 20;
constexpr size_t kMaxDemonstrationsFileBytes = size_t{64} << 20;
// The server's limit; a longer file is refused before its pictures are read.
constexpr int kMaxDemonstrations = 1024;

bool IsPattern(const std::string& word) {
  return word.find_first_of("*?[") != std::string::npos && !FileExists(word);
}

absl::Status AppendMatches(const std::string& pattern, std::vector<std::string>* out) {
  glob_t found{};
  const int result = glob(pattern.c_str(), 0, nullptr, &found);
  absl::Status status;
  if (result == GLOB_NOMATCH || (result == 0 && found.gl_pathc == 0)) {
    status = absl::InvalidArgumentError(absl::StrCat("no file matches ", pattern));
  } else if (result != 0) {
    status = absl::InvalidArgumentError(absl::StrCat("cannot look for ", pattern));
  } else if (out->size() + found.gl_pathc <= kMaxPictures) {
    out->insert(out->end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
  } else {
    status = absl::InvalidArgumentError(absl::StrCat(pattern, " and the rest are ",
                                                     out->size() + found.gl_pathc,
                                                     " pictures, the limit is ", kMaxPictures));
  }
  globfree(&found);
  return status;
}

// Takes the text of `key` out of `json`; an error if it is no text.
absl::Status TakeText(const char* key, nlohmann::json* json, std::string* out) {
  const auto found = json->find(key);
  if (found == json->end()) return absl::OkStatus();
  if (!found->is_string()) return absl::InvalidArgumentError(absl::StrCat(key, " is not a text"));
  *out = found->get<std::string>();
  json->erase(found);
  return absl::OkStatus();
}

absl::StatusOr<v1::Demonstration> ParseDemonstration(absl::string_view line,
                                                     const std::filesystem::path& folder) {
  nlohmann::json json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError("it is not an object of JSON");
  v1::Demonstration demonstration;
  std::string image;
  PREFIXD_RETURN_IF_ERROR(TakeText("image", &json, &image));
  PREFIXD_RETURN_IF_ERROR(TakeText("text", &json, demonstration.mutable_text()));
  PREFIXD_RETURN_IF_ERROR(TakeText("label", &json, demonstration.mutable_label()));
  if (!json.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown key \"", json.begin().key(), "\"; there are image, text and label"));
  }
  if (demonstration.label().empty()) return absl::InvalidArgumentError("label is missing");
  if (!image.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(*demonstration.mutable_image()->mutable_data(),
                             ReadImage((folder / image).string()));
  }
  return demonstration;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitNames(absl::string_view text) {
  std::vector<std::string> names;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    names.push_back(std::string(absl::StripAsciiWhitespace(part)));
    if (names.back().empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--names: name ", names.size(), " is empty"));
    }
  }
  return names;
}

std::vector<std::string> NamesOfLines(absl::string_view text) {
  std::vector<std::string> names;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const absl::string_view name = absl::StripSuffix(line, "\r");
    if (!name.empty()) names.push_back(std::string(name));
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> ReadNames(const Classification& classification) {
  std::vector<std::string> names;
  if (classification.names) {
    PREFIXD_ASSIGN_OR_RETURN(names, SplitNames(*classification.names));
  } else {
    const std::string& path = classification.names_file;
    PREFIXD_ASSIGN_OR_RETURN(const std::string text, path == "-"
                                                         ? ReadStdin(kMaxNamesFileBytes)
                                                         : ReadFile(path, kMaxNamesFileBytes));
    names = NamesOfLines(text);
  }
  if (names.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "at least 2 names are needed, there ", names.size() == 1 ? "is " : "are ", names.size()));
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> ExpandPatterns(const std::vector<std::string>& words) {
  std::vector<std::string> files;
  for (const std::string& word : words) {
    if (IsPattern(word)) {
      PREFIXD_RETURN_IF_ERROR(AppendMatches(word, &files));
    } else if (files.size() < kMaxPictures) {
      files.push_back(word);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("there are more than ", kMaxPictures, " pictures"));
    }
  }
  return files;
}

absl::StatusOr<std::vector<v1::Demonstration>> ReadDemonstrations(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDemonstrationsFileBytes));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::vector<v1::Demonstration> demonstrations;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    if (demonstrations.size() == kMaxDemonstrations) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": more than ", kMaxDemonstrations, " demonstrations"));
    }
    absl::StatusOr<v1::Demonstration> demonstration = ParseDemonstration(line, folder);
    if (!demonstration.ok()) {
      return absl::Status(demonstration.status().code(),
                          absl::StrCat(path, ":", number, ": ", demonstration.status().message()));
    }
    demonstrations.push_back(*std::move(demonstration));
  }
  return demonstrations;
}

}  // namespace prefixd::ctl
