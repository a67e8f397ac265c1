#include "tests/server/exposition.h"

#include <cctype>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace prefixd::testing {
namespace {

absl::Status Bad(absl::string_view what, absl::string_view line) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", line));
}

bool IsName(absl::string_view name, bool colons) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && !(colons && c == ':')) {
      return false;
    }
  }
  return true;
}

// Takes `{a="b",c="d"}` from the front of `rest`.
absl::Status TakeLabels(absl::string_view* rest, std::map<std::string, std::string>* labels) {
  if (!absl::ConsumePrefix(rest, "{")) return absl::OkStatus();
  while (!absl::ConsumePrefix(rest, "}")) {
    const size_t equals = rest->find("=\"");
    if (equals == absl::string_view::npos) return Bad("label without value", *rest);
    const std::string name(rest->substr(0, equals));
    if (!IsName(name, false)) return Bad("label name", name);
    rest->remove_prefix(equals + 2);
    std::string value;
    while (!absl::ConsumePrefix(rest, "\"")) {
      if (rest->empty()) return Bad("label value without end", name);
      if (absl::ConsumePrefix(rest, "\\")) {
        if (rest->empty() || !absl::StrContains("\\\"n", rest->substr(0, 1))) {
          return Bad("escape", name);
        }
      }
      value += (*rest)[0];
      rest->remove_prefix(1);
    }
    if (!labels->emplace(name, value).second) return Bad("label twice", name);
    if (!absl::ConsumePrefix(rest, ",") && !absl::StartsWith(*rest, "}")) {
      return Bad("no comma between labels", *rest);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Sample> ParseSample(absl::string_view line) {
  Sample sample;
  absl::string_view rest = line;
  const size_t end = rest.find_first_of("{ ");
  if (end == absl::string_view::npos) return Bad("no value", line);
  sample.name = std::string(rest.substr(0, end));
  rest.remove_prefix(end);
  PREFIXD_RETURN_IF_ERROR(TakeLabels(&rest, &sample.labels));
  if (!absl::ConsumePrefix(&rest, " ")) return Bad("no space before the value", line);
  if (rest == "+Inf") {
    sample.value = std::numeric_limits<double>::infinity();
  } else if (!absl::SimpleAtod(rest, &sample.value) || std::isnan(sample.value)) {
    return Bad("value", line);
  }
  return sample;
}

bool BelongsTo(const std::string& sample, const std::string& family, const std::string& type) {
  if (type != "histogram") return sample == family;
  return sample == family + "_bucket" || sample == family + "_sum" || sample == family + "_count";
}

// Checks the children of one histogram, told apart by their labels but `le`.
absl::Status CheckHistogram(const std::string& name, const ExposedFamily& family) {
  struct Child {
    double last_bound = -std::numeric_limits<double>::infinity();
    double last_count = 0;
    double count = -1, sum = -1;
  };
  std::map<std::map<std::string, std::string>, Child> children;
  for (const Sample& sample : family.samples) {
    std::map<std::string, std::string> labels = sample.labels;
    labels.erase("le");
    Child& child = children[labels];
    if (sample.name == name + "_count") child.count = sample.value;
    if (sample.name == name + "_sum") child.sum = sample.value;
    if (sample.name != name + "_bucket") continue;
    const auto le = sample.labels.find("le");
    double bound = std::numeric_limits<double>::infinity();
    if (le == sample.labels.end()) return Bad("bucket without le", name);
    if (le->second != "+Inf" && !absl::SimpleAtod(le->second, &bound)) return Bad("le", name);
    if (bound <= child.last_bound) return Bad("bounds do not rise", name);
    if (sample.value < child.last_count) return Bad("buckets are not cumulative", name);
    child.last_bound = bound;
    child.last_count = sample.value;
  }
  for (const auto& [labels, child] : children) {
    if (!std::isinf(child.last_bound)) return Bad("no bucket +Inf", name);
    if (child.last_count != child.count) return Bad("the count is not the last bucket", name);
    if (child.sum < 0) return Bad("no sum", name);
  }
  return absl::OkStatus();
}

absl::Status CheckFamily(const std::string& name, const ExposedFamily& family) {
  if (!IsName(name, true)) return Bad("metric name", name);
  if (family.help.empty()) return Bad("no HELP", name);
  const bool total = absl::EndsWith(name, "_total");
  const bool compat = absl::StartsWith(name, "vllm:");
  if (family.type == "counter" && !total) return Bad("counter without _total", name);
  if (family.type != "counter" && total && !compat) return Bad("_total on no counter", name);
  for (const absl::string_view word : {"_milliseconds", "_ms", "_minutes", "_kilobytes", "_percent",
                                       "_mib", "_mb", "_count", "_sum", "_bucket"}) {
    if (absl::EndsWith(absl::StripSuffix(name, "_total"), word)) return Bad("unit or suffix", name);
  }
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen;
  for (const Sample& sample : family.samples) {
    if (!seen.emplace(sample.name, sample.labels).second) return Bad("sample twice", sample.name);
    if (family.type == "counter" && sample.value < 0) return Bad("below zero", name);
    if (absl::EndsWith(name, "_ratio") && (sample.value < 0 || sample.value > 1)) {
      return Bad("ratio outside [0, 1]", name);
    }
  }
  if (family.type == "histogram") return CheckHistogram(name, family);
  if (family.type != "counter" && family.type != "gauge") return Bad("type", name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, ExposedFamily>> ParseExposition(absl::string_view text) {
  if (!absl::ConsumeSuffix(&text, "\n")) return Bad("no line feed at the end", "");
  std::map<std::string, ExposedFamily> families;
  std::string present;  // The family whose samples may come now.
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    if (absl::StartsWith(line, "# HELP ")) {
      if (words.size() < 4 || words[3].empty()) return Bad("empty HELP", line);
      present = words[2];
      if (families.count(present) > 0) return Bad("family twice", line);
      families[present].help = words[3];
    } else if (absl::StartsWith(line, "# TYPE ")) {
      if (words.size() != 4 || words[2] != present) return Bad("TYPE without HELP", line);
      if (!families[present].type.empty()) return Bad("TYPE twice", line);
      families[present].type = words[3];
    } else {
      PREFIXD_ASSIGN_OR_RETURN(Sample sample, ParseSample(line));
      ExposedFamily& family = families[present];
      if (family.type.empty() || !BelongsTo(sample.name, present, family.type)) {
        return Bad("sample outside its family", line);
      }
      family.samples.push_back(std::move(sample));
    }
  }
  for (const auto& [name, family] : families) PREFIXD_RETURN_IF_ERROR(CheckFamily(name, family));
  return families;
}

absl::StatusOr<double> FindValue(const std::map<std::string, ExposedFamily>& families,
                                 const std::string& name,
                                 const std::map<std::string, std::string>& labels) {
  for (const auto& [family_name, family] : families) {
    for (const Sample& sample : family.samples) {
      if (sample.name == name && sample.labels == labels) return sample.value;
    }
  }
  return absl::NotFoundError(absl::StrCat("no sample ", name));
}

}  // namespace prefixd::testing
