// The end of a run: faults are off, and everything must end and leave nothing behind.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/simulation/world.h"

namespace prefixd::simulation {

int64_t World::StepsToHeal() const {
  constexpr int64_t kAgain = 8;  // Preempted, it computes much again.
  int64_t steps = 16;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const int64_t tower =
        static_cast<int64_t>(request->oracle.images().size()) * (config_.tower_steps + 1);
    steps += kAgain * (request->oracle.prompt_rows() + tower +
                       request->spec.choices * request->oracle.most_new_tokens());
  }
  return steps;
}

void World::Heal(bool fail_all) {
  faults_ = Faults();
  healing_ = true;
  if (fail_all && num_live_ > 0) {
    report_->NextEvent();
    report_->Reach(Mark::kFailAll);
    failing_all_ = true;
    core_->FailAll(absl::UnavailableError("the daemon stops"));
    failing_all_ = false;
  }
  for (const auto& [id, request] : requests_) request->stalled = false;
  const int64_t bound = StepsToHeal();
  int idle_steps = 0;
  for (int64_t steps = 0; num_live_ > 0 && !report_->failed(); ++steps) {
    idle_steps = Step() || ended_in_step_ ? 0 : idle_steps + 1;
    if (idle_steps > 1 && num_live_ > 0) {
      return report_->Fail(
          "I29", absl::StrCat(num_live_, " requests live, nothing is computed: ", DescribeLive()));
    }
    if (steps > bound) {
      return report_->Fail(
          "I23", absl::StrCat(num_live_, " requests live after ", bound, " steps without faults"));
    }
  }
  if (!report_->failed()) CheckNothingLeft();
}

std::string World::DescribeLive() const {
  std::string text;
  for (const auto& [id, request] : requests_) {
    if (request->ended || text.size() > 200) continue;
    const Core::Look look = core_->LookAt(*request);
    absl::StrAppend(&text, "request ", id,
                    look.waiting   ? " waits"
                    : look.decodes ? " decodes"
                                   : " prefills",
                    look.parked ? ", parked" : "", look.column_waits ? ", for a column" : "",
                    look.image_waits ? ", for an image" : "", "; ");
  }
  return text;
}

// Pins are released; then pages are free or cached, and after a flush they are free.
void World::CheckNothingLeft() {
  for (const auto& [id, request] : requests_) {
    if (request->spec.pin != 0) core_->Release(*request);
  }
  (void)Step();
  if (report_->failed()) return;
  EngineStats stats = core_->Stats();
  if (stats.free_pages + stats.cache.evictable_pages != stats.total_pages) {
    report_->Fail(
        "I38", absl::StrCat(stats.free_pages, " pages are free and ", stats.cache.evictable_pages,
                            " evictable of ", stats.total_pages, " after the last request ended"));
  }
  core_->Flush(-1);
  stats = core_->Stats();
  if (stats.free_pages != stats.total_pages || stats.cache.columns != 0 ||
      stats.cache.feature_entries != 0) {
    report_->Fail("I38", absl::StrCat("after a flush ", stats.total_pages - stats.free_pages,
                                      " pages, ", stats.cache.columns, " columns and ",
                                      stats.cache.feature_entries, " images are left"));
  }
  if (finished_ + failed_ != requests_.size()) {
    report_->Fail(
        "I20", absl::StrCat(requests_.size(), " requests came, ", finished_ + failed_, " ended"));
  }
}

}  // namespace prefixd::simulation
