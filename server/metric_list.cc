#include "server/metric_list.h"

namespace prefixd {

prometheus::MetricFamily& MetricList::Family(prometheus::MetricType type, absl::string_view name,
                                             absl::string_view help) {
  if (families_.empty() || name != families_.back().name) {
    prometheus::MetricFamily& family = families_.emplace_back();
    family.name = std::string(name);
    family.help = std::string(help);
    family.type = type;
  }
  return families_.back();
}

prometheus::ClientMetric& MetricList::Child(prometheus::MetricType type, absl::string_view name,
                                            absl::string_view help, const Labels& labels) {
  prometheus::ClientMetric& child = Family(type, name, help).metric.emplace_back();
  for (const Labels* list : {&common_, &labels}) {
    for (const auto& [label, value] : *list) {
      child.label.push_back({.name = std::string(label), .value = value});
    }
  }
  return child;
}

void MetricList::Distribution(absl::string_view name, absl::string_view help,
                              const Histogram& histogram, const Labels& labels) {
  prometheus::ClientMetric::Histogram& out =
      Child(prometheus::MetricType::Histogram, name, help, labels).histogram;
  out.sample_count = histogram.count();
  out.sample_sum = histogram.sum();
  uint64_t below = 0;
  // What is above all bounds is in the count; the serializer writes it as the bucket +Inf.
  for (size_t i = 0; i < histogram.bounds().size(); ++i) {
    below += histogram.counts()[i];
    out.bucket.push_back({.cumulative_count = below, .upper_bound = histogram.bounds()[i]});
  }
}

}  // namespace prefixd
