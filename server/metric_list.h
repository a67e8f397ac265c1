// Metric families under construction, in the types of prometheus-cpp. One thread.
#ifndef PREFIXD_SERVER_METRIC_LIST_H_
#define PREFIXD_SERVER_METRIC_LIST_H_

#include <string>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "absl/strings/string_view.h"
#include "base/histogram.h"

namespace prefixd {

class MetricList {
 public:
  using Labels = std::vector<std::pair<absl::string_view, std::string>>;

  // `common` is added to the labels of every metric. Values must come from a bounded set: never a
  // tenant, a request id or anything else that clients choose.
  explicit MetricList(Labels common = {}) : common_(std::move(common)) {}

  // Adds one sample. Samples of one name belong together: add them one after the other.
  // `name` ends in `_total` for counters and says its unit; `help` is one sentence.
  template <typename Number>
  void Counter(absl::string_view name, absl::string_view help, Number value,
               const Labels& labels = {}) {
    Child(prometheus::MetricType::Counter, name, help, labels).counter.value =
        static_cast<double>(value);
  }
  template <typename Number>
  void Gauge(absl::string_view name, absl::string_view help, Number value,
             const Labels& labels = {}) {
    Child(prometheus::MetricType::Gauge, name, help, labels).gauge.value =
        static_cast<double>(value);
  }
  void Distribution(absl::string_view name, absl::string_view help, const Histogram& histogram,
                    const Labels& labels = {});

  // Adds a family that may have no samples yet.
  void Declare(prometheus::MetricType type, absl::string_view name, absl::string_view help) {
    Family(type, name, help);
  }

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::MetricFamily& Family(prometheus::MetricType type, absl::string_view name,
                                   absl::string_view help);
  prometheus::ClientMetric& Child(prometheus::MetricType type, absl::string_view name,
                                  absl::string_view help, const Labels& labels);

  const Labels common_;
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_METRIC_LIST_H_
