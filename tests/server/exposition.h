// A strict reader of Prometheus' text format: what a lenient scraper would swallow is an error
// here.
#ifndef PREFIXD_TESTS_SERVER_EXPOSITION_H_
#define PREFIXD_TESTS_SERVER_EXPOSITION_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd::testing {

struct Sample {
  std::string name;  // Of a histogram with its suffix.
  std::map<std::string, std::string> labels;
  double value = 0;
};

struct ExposedFamily {
  std::string help, type;
  std::vector<Sample> samples;
};

// By name. Errors name the line or family: a family without or with a second HELP or TYPE, a sample
// outside its family, two samples with one name and labels, malformed names, numbers and escapes, a
// counter without `_total` or below zero, a histogram whose buckets do not rise to `+Inf`.
absl::StatusOr<std::map<std::string, ExposedFamily>> ParseExposition(absl::string_view text);

// The value of the sample with this name and these labels, all of them.
absl::StatusOr<double> FindValue(const std::map<std::string, ExposedFamily>& families,
                                 const std::string& name,
                                 const std::map<std::string, std::string>& labels = {});

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_EXPOSITION_H_
