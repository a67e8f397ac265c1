#include "tests/simulation/report.h"

#include <algorithm>

namespace prefixd::simulation {
namespace {

template <size_t N>
void Store(absl::string_view text, std::array<char, N>* to) {
  to->fill(0);
  std::copy_n(text.data(), std::min(text.size(), N - 1), to->data());
}

}  // namespace

absl::string_view MarkSentence(Mark mark) {
  static constexpr absl::string_view kSentences[] = {
#define PREFIXD_SIMULATION_MARK_SENTENCE(name, sentence) sentence,
      PREFIXD_SIMULATION_MARK_LIST(PREFIXD_SIMULATION_MARK_SENTENCE)
#undef PREFIXD_SIMULATION_MARK_SENTENCE
  };
  return kSentences[static_cast<size_t>(mark)];
}

void Report::set_context(absl::string_view context) { Store(context, &context_); }

void Report::Fail(absl::string_view rule, absl::string_view message) {
  if (failed_) return;
  failed_ = true;
  Store(rule, &rule_);
  Store(message, &message_);
}

}  // namespace prefixd::simulation
