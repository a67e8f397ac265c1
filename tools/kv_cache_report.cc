// What is shown of the KV cache experiment: text, CSV, SVG.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tools/kv_cache_experiment.h"

namespace prefixd {
namespace {

constexpr int kColumns = 60, kLines = 12;  // Of the chart in text.

// Mean seconds per token at each position.
std::vector<double> PerToken(const std::vector<KvCacheRun>& runs) {
  std::vector<double> mean(runs.at(0).token_seconds.size());
  for (const KvCacheRun& run : runs) {
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += run.token_seconds[i] / static_cast<double>(runs.size());
    }
  }
  return mean;
}

// The median of each of `columns` ranges of positions: single slow tokens say nothing.
std::vector<double> Columns(const std::vector<double>& values, int columns) {
  std::vector<double> result;
  const size_t n = values.size();
  const size_t count = std::min<size_t>(static_cast<size_t>(columns), n);
  for (size_t c = 0; c < count; ++c) {
    std::vector<double> part(values.begin() + static_cast<ptrdiff_t>(c * n / count),
                             values.begin() + static_cast<ptrdiff_t>((c + 1) * n / count));
    std::nth_element(part.begin(), part.begin() + static_cast<ptrdiff_t>(part.size() / 2),
                     part.end());
    result.push_back(part[part.size() / 2]);
  }
  return result;
}

struct Scale {
  double low, high;  // Powers of ten around all values.
  double At(double value) const {
    return (std::log10(std::max(value, low)) - std::log10(low)) /
           (std::log10(high) - std::log10(low));
  }
};

Scale ScaleOf(const std::vector<double>& a, const std::vector<double>& b) {
  double low = 1e9, high = 1e-9;
  for (const auto* values : {&a, &b}) {
    for (const double value : *values) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  low = std::pow(10.0, std::floor(std::log10(std::max(low, 1e-9))));
  high = std::pow(10.0, std::ceil(std::log10(std::max(high, low * 1.01))));
  return {low, high};
}

std::string TextChart(const std::vector<double>& with, const std::vector<double>& without,
                      int32_t positions) {
  const Scale scale = ScaleOf(with, without);
  std::vector<std::string> lines(kLines, std::string(with.size(), ' '));
  const auto plot = [&](const std::vector<double>& values, char mark) {
    for (size_t c = 0; c < values.size(); ++c) {
      const int line = static_cast<int>(std::lround((1 - scale.At(values[c])) * (kLines - 1)));
      lines[static_cast<size_t>(line)][c] = mark;
    }
  };
  plot(without, 'o');
  plot(with, '*');
  std::string text = "ms per token (log scale), o without, * with the KV cache\n";
  for (int line = 0; line < kLines; ++line) {
    std::string label;
    if (line == 0) label = absl::StrFormat("%g", scale.high * 1e3);
    if (line == kLines - 1) label = absl::StrFormat("%g", scale.low * 1e3);
    absl::StrAppendFormat(&text, "%8s |%s\n", label, lines[static_cast<size_t>(line)]);
  }
  absl::StrAppendFormat(&text, "%8s +%s\n%10s%-*s%d new tokens\n", "",
                        std::string(with.size(), '-'), "1 ",
                        std::max(1, static_cast<int>(with.size()) - 14), "", positions);
  return text;
}

std::string Seconds(const MeanAndDeviation& value) {
  return absl::StrFormat("%.3f ± %.3f s", value.mean, value.deviation);
}

}  // namespace

std::string KvCacheText(const KvCacheExperiment& experiment) {
  const MeanAndDeviation with = MeanOf(experiment.with_cache);
  const MeanAndDeviation without = MeanOf(experiment.without);
  const int32_t tokens = experiment.options.new_tokens;
  std::string text =
      absl::StrFormat("%s on %s%s%s: %d tokens after %d of the prompt, %d time%s\n\n",
                      experiment.model, experiment.backend, experiment.level.empty() ? "" : " ",
                      experiment.level, tokens, experiment.prompt_tokens, experiment.options.repeat,
                      experiment.options.repeat == 1 ? "" : "s");
  absl::StrAppend(&text, "with KV cache     ", Seconds(with), "\n", "without           ",
                  Seconds(without), "\n");
  absl::StrAppendFormat(&text, "ratio             %.1f\n", without.mean / with.mean);
  absl::StrAppendFormat(
      &text, "tokens            %d of %d equal, log-probabilities at most %.2g apart\n\n",
      EqualTokens(experiment), tokens, LogprobDifference(experiment));
  const std::vector<double> a = Columns(PerToken(experiment.with_cache), kColumns);
  const std::vector<double> b = Columns(PerToken(experiment.without), kColumns);
  return text + TextChart(a, b, tokens);
}

std::string KvCacheCsv(const KvCacheExperiment& experiment) {
  const std::vector<double> with = PerToken(experiment.with_cache);
  const std::vector<double> without = PerToken(experiment.without);
  std::string csv = "position,with_seconds,without_seconds\n";
  for (size_t i = 0; i < with.size(); ++i) {
    absl::StrAppendFormat(&csv, "%d,%.6f,%.6f\n", experiment.prompt_tokens + static_cast<int>(i),
                          with[i], without[i]);
  }
  return csv;
}

std::string KvCacheSvg(const KvCacheExperiment& experiment) {
  constexpr double kLeft = 72, kTop = 56, kWidth = 640, kHeight = 300;
  constexpr char kInk[] = "#767676";
  const std::vector<double> with = Columns(PerToken(experiment.with_cache), 320);
  const std::vector<double> without = Columns(PerToken(experiment.without), 320);
  const Scale scale = ScaleOf(with, without);
  const auto x = [&](size_t i, size_t n) {
    return kLeft +
           kWidth * static_cast<double>(i) / static_cast<double>(std::max<size_t>(1, n - 1));
  };
  const auto y = [&](double value) { return kTop + kHeight * (1 - scale.At(value)); };
  const std::string title = absl::StrReplaceAll(
      absl::StrFormat("%s: %d tokens with and without the KV cache, ratio %.1f", experiment.model,
                      experiment.options.new_tokens,
                      MeanOf(experiment.without).mean / MeanOf(experiment.with_cache).mean),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"430\" viewBox=\"0 0 760 "
      "430\" font-family=\"sans-serif\" fill=\"%s\">\n<text x=\"%g\" y=\"28\" font-size=\"16\">%s"
      "</text>\n",
      kInk, kLeft, title);
  for (double tick = scale.low; tick <= scale.high * 1.001; tick *= 10) {
    absl::StrAppendFormat(
        &svg,
        "<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-opacity=\"0.4\"/>\n"
        "<text x=\"%g\" y=\"%.1f\" font-size=\"12\" text-anchor=\"end\">%g ms</text>\n",
        kLeft, kLeft + kWidth, y(tick), y(tick), kInk, kLeft - 6, y(tick) + 4, tick * 1e3);
  }
  const auto line = [&](const std::vector<double>& values, const char* color, const char* dash,
                        const char* name, double legend) {
    std::string points;
    for (size_t i = 0; i < values.size(); ++i) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", x(i, values.size()), y(values[i]));
    }
    absl::StrAppendFormat(
        &svg,
        "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s/>\n<line "
        "x1=\"%g\" "
        "x2=\"%g\" y1=\"404\" y2=\"404\" stroke=\"%s\" stroke-width=\"2\"%s/>\n<text x=\"%g\" "
        "y=\"408\" font-size=\"13\">%s</text>\n",
        points, color, dash, legend, legend + 36, color, dash, legend + 44, name);
  };
  line(without, "#d55e00", " stroke-dasharray=\"8 3\"", "without", kLeft);
  line(with, "#0078c8", "", "with the KV cache", kLeft + 160);
  absl::StrAppendFormat(
      &svg,
      "<text x=\"%g\" y=\"%g\" font-size=\"12\">1</text>\n<text x=\"%g\" y=\"%g\" "
      "font-size=\"12\" text-anchor=\"end\">%d new tokens</text>\n</svg>\n",
      kLeft, kTop + kHeight + 20, kLeft + kWidth, kTop + kHeight + 20,
      experiment.options.new_tokens);
  return svg;
}

}  // namespace prefixd
