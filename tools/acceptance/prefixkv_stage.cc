// Stage prefixkv: the paper's table of latency beside this card's. What the paper measured is its
// own stack on its own card: ratios compare, seconds do not.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "tools/acceptance/stages.h"
#include "tools/acceptance/synthetic_decoder.h"

namespace prefixd::acceptance {
namespace {

constexpr int64_t kMostPages = int64_t{1} << 30;

struct Measured {
  std::array<double, kBudgets.size()> decode = {};  // Seconds; 0: none.
  std::array<std::string, kBudgets.size()> why;     // There is none.
  double prefill = 0;                               // Of the batch.
};

std::string Seconds(double seconds) { return absl::StrFormat("%.2f", seconds); }
std::string Times(double full, double part) {
  return full > 0 && part > 0 ? absl::StrFormat("%.2f", full / part) : "";
}
std::string OrOom(double value) { return value < 0 ? "OOM" : absl::StrFormat("%.1f", value); }

// Simpson's rule over the lengths that a sequence goes through.
absl::StatusOr<double> DecodeSeconds(const ModelShape& model, const PaperRow& row, double budget,
                                     int steps, SyntheticDecoder* decoder) {
  const auto kept = [&](int tokens) { return KeptByLayer(model.num_layers, tokens, budget); };
  PREFIXD_RETURN_IF_ERROR(decoder->Place(row.batch, kept(row.prompt + row.generated), 0));
  PREFIXD_RETURN_IF_ERROR(decoder->FillSlots());
  double sum = 0;
  for (const auto& [tokens, weight] :
       {std::pair{row.prompt, 1.0}, std::pair{row.prompt + row.generated / 2, 4.0},
        std::pair{row.prompt + row.generated, 1.0}}) {
    PREFIXD_ASSIGN_OR_RETURN(const double seconds, decoder->DecodeSeconds(kept(tokens), steps));
    sum += weight * seconds;
  }
  return row.generated * sum / 6;
}

void AddRows(const PaperRow& row, const ModelShape& model, const Measured& measured,
             double bytes_per_second, Table* table) {
  const double full = measured.decode.back();
  for (size_t b = 0; b < kBudgets.size(); ++b) {
    const double seconds = measured.decode[b];
    const double floor = DecodeFloorSeconds(model, row.batch, row.prompt, row.generated,
                                            kBudgets[b], bytes_per_second);
    const double latency = seconds + measured.prefill;
    table->rows.push_back(
        {absl::StrCat(row.batch), model.name, absl::StrCat(row.prompt, "+", row.generated),
         absl::StrFormat("%.0f %%", 100 * kBudgets[b]),
         absl::StrCat(PagesNeeded(model, row.batch, row.prompt + row.generated, kBudgets[b])),
         seconds > 0 ? Seconds(seconds) : measured.why[b], Seconds(floor),
         seconds > 0 ? absl::StrFormat("%.0f", 100 * floor / seconds) : "",
         seconds > 0 ? Seconds(latency) : "",
         seconds > 0 ? absl::StrFormat("%.0f", row.batch * row.generated / latency) : "",
         Times(full, seconds), OrOom(row.seconds[b]), OrOom(row.tokens_per_second[b]),
         Times(row.seconds.back(), row.seconds[b])});
  }
}

absl::Status MeasureModel(const StageSettings& settings, const ModelShape& model,
                          const std::vector<PaperRow>& rows, double bytes_per_second,
                          StageReport* report, Table* table) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, settings.open_backend({}));
  int longest = 0;
  int64_t most_pages = 0;
  for (const PaperRow& row : rows) {
    longest = std::max(longest, row.prompt);
    most_pages =
        std::max(most_pages, PagesNeeded(model, row.batch, row.prompt + row.generated, 1.0));
  }
  auto decoder = SyntheticDecoder::Create(model, longest, backend.get());
  if (absl::IsResourceExhausted(decoder.status())) {
    report->facts.emplace_back(
        model.name, absl::StrCat("the weights do not fit: ", decoder.status().message()));
    return absl::OkStatus();
  }
  PREFIXD_RETURN_IF_ERROR(decoder.status());
  const auto room = static_cast<int64_t>(backend->AvailableMemory() / PageBytes(model));
  const int64_t pages = std::min({most_pages, room, settings.most_pages, kMostPages});
  report->facts.emplace_back(model.name, absl::StrCat(room, " pages of ", PageBytes(model),
                                                      " bytes fit beside the weights"));
  if (pages < 1) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR((*decoder)->CreatePool(static_cast<int32_t>(pages)));
  for (const PaperRow& row : rows) {
    Measured measured;
    for (size_t b = 0; b < kBudgets.size(); ++b) {
      const absl::StatusOr<double> seconds =
          DecodeSeconds(model, row, kBudgets[b], settings.quick ? 6 : 16, decoder->get());
      if (absl::IsResourceExhausted(seconds.status())) {
        measured.why[b] = absl::StrCat("does not fit: ", seconds.status().message());
        continue;
      }
      PREFIXD_RETURN_IF_ERROR(seconds.status());
      measured.decode[b] = *seconds;
    }
    if ((*decoder)->Place(1, row.prompt, 0).ok()) {
      PREFIXD_ASSIGN_OR_RETURN(const double one, (*decoder)->PrefillSeconds(row.prompt));
      measured.prefill = one * row.batch;
    }
    AddRows(row, model, measured, bytes_per_second, table);
  }
  return absl::OkStatus();
}

}  // namespace

StageReport RunPrefixKv(const StageSettings& settings) {
  StageReport report;
  const Ceilings ceilings = CeilingsFor(settings, &report);
  Table table = {
      "Latency of a batch by the share of the KV that is kept (paper: arXiv:2412.03409, "
      "its own card and stack)",
      {"batch", "model", "prompt+new", "kept", "pages", "decode s", "floor s", "% of floor",
       "with prefill s", "tokens/s", "times full", "paper s", "paper tokens/s", "paper times full"},
      {}};
  const bool toy = settings.small.name == ToyModel().name;
  for (const bool large : {true, false}) {
    std::vector<PaperRow> rows;
    for (PaperRow row : PaperTable()) {
      if (row.large != large) continue;
      if (toy) row.batch = 2, row.prompt = 40, row.generated = 8;
      rows.push_back(row);
    }
    report.FailUnless(MeasureModel(settings, large ? settings.large : settings.small, rows,
                                   ceilings.copy_bytes_per_second, &report, &table));
  }
  report.tables.push_back(std::move(table));
  return report;
}

}  // namespace prefixd::acceptance
