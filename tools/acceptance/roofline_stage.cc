// Stage roofline: kernel by kernel against the ceilings.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/acceptance/roofline.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

Table ToTable(const std::vector<KernelTime>& times, const Ceilings& ceilings,
              const std::string& model) {
  Table table = {absl::StrCat("Kernels at the shapes of ", model),
                 {"kernel", "shape", "step", "calls", "MB", "GFLOP", "floor us", "us", "GB/s",
                  "TFLOP/s", "% of ceiling"},
                 {}};
  for (const KernelTime& time : times) {
    const double rate = time.seconds > 0 ? 1 / time.seconds : 0;
    table.rows.push_back({time.kernel, time.shape, time.step, absl::StrFormat("%.0f", time.calls),
                          absl::StrFormat("%.2f", time.bytes / 1e6),
                          absl::StrFormat("%.2f", time.flops / 1e9),
                          absl::StrFormat("%.2f", FloorSeconds(time, ceilings) * 1e6),
                          absl::StrFormat("%.2f", time.seconds * 1e6),
                          absl::StrFormat("%.0f", time.bytes * rate / 1e9),
                          absl::StrFormat("%.1f", time.flops * rate / 1e12),
                          absl::StrFormat("%.0f", 100 * ShareOfCeiling(time, ceilings))});
  }
  return table;
}

}  // namespace

StageReport RunRoofline(const StageSettings& settings) {
  StageReport report;
  RooflineOptions options = {.model = settings.small, .replays = settings.replays};
  if (settings.small.name == ToyModel().name) {
    options.batch = 2;
    options.decode_slots = 40;
    options.more_decode_slots = {};
    options.prefill_rows = 70;
    options.more_prefill_rows = {};
    options.cache_bytes = 0;
  } else if (settings.quick) {
    options.more_decode_slots = {2048};
    options.more_prefill_rows = {2048};
    options.replays = 20;
  }
  const Ceilings ceilings = CeilingsFor(settings, &report);
  absl::StatusOr<std::unique_ptr<Roofline>> roofline = Roofline::Create(options);
  report.FailUnless(roofline.status());
  if (!roofline.ok()) return report;
  report.FailUnless((*roofline)->Run());
  report.tables.push_back(ToTable((*roofline)->times(), ceilings, settings.small.name));
  report.flags = Flags((*roofline)->times(), ceilings);
  report.facts.emplace_back("registers and occupancy",
                            "not measured here; .ci/cuda_gates.py --list prints registers");
  return report;
}

}  // namespace prefixd::acceptance
