#include "tests/cuda_emulation/emulator/waiters.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace prefixd::emu {
namespace {

std::string PlaceText(const Thread& thread) {
  switch (thread.state) {
    case ThreadState::kReady:
      return "can run";
    case ThreadState::kDone:
      return "returned";
    case ThreadState::kAtBlockBarrier:
      return absl::StrCat("at __syncthreads (", SiteText(thread.site), ")");
    case ThreadState::kAtCollective:
      break;
  }
  const std::string site = SiteText(thread.site);
  return absl::StrFormat("at %s, mask %08x%s", thread.operation, thread.mask,
                         site.empty() ? "" : absl::StrCat(" (", site, ")"));
}

// "0-3, 5": from ascending ranks.
std::string RangesText(const std::vector<uint32_t>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    absl::StrAppend(&text, text.empty() ? "" : ", ", ranks[i]);
    if (end - i > 1) absl::StrAppend(&text, "-", ranks[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace

std::string SiteText(Site site) {
  const absl::string_view file = site.file;
  if (file.empty()) return "";
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", site.line);
}

std::string WaitersText(const std::vector<std::unique_ptr<Thread>>& threads, uint32_t num_threads) {
  std::map<std::string, std::vector<uint32_t>> ranks_at;
  for (uint32_t i = 0; i < num_threads; ++i) ranks_at[PlaceText(*threads[i])].push_back(i);
  std::vector<std::string> parts;
  for (const auto& [place, ranks] : ranks_at) {
    parts.push_back(
        absl::StrCat(ranks.size() == 1 ? "thread " : "threads ", RangesText(ranks), " ", place));
  }
  return absl::StrJoin(parts, "; ");
}

}  // namespace prefixd::emu
