#include "client/prefixctl/class_set_output.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/prefixctl/display_text.h"
#include "client/prefixctl/json_parts.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/quantity.h"
#include "client/prefixctl/table.h"

namespace prefixd::ctl {
namespace {

// Whole seconds: "9m58s".
std::string Age(const v1::ClassSet& set) {
  return absl::FormatDuration(absl::Trunc(ToDuration(set.age()), absl::Seconds(1)));
}

absl::Time CreateTime(const v1::ClassSet& set) {
  return absl::FromUnixSeconds(set.create_time().seconds()) +
         absl::Nanoseconds(set.create_time().nanos());
}

}  // namespace

std::vector<std::string> ClassSetRow(const v1::ClassSet& set) {
  const std::string shots = set.num_demonstrations() == 0 ? "-"
                            : set.num_shots() == 0        ? "all"
                                                          : absl::StrCat(set.num_shots());
  return {set.name(),
          absl::StrCat(set.num_names()),
          absl::StrCat(set.num_tokens()),
          absl::StrCat(set.internal_nodes()),
          absl::StrCat(set.num_demonstrations()),
          shots,
          FormatBytes(set.stored_bytes()),
          absl::StrCat(set.requests()),
          Age(set)};
}

std::string ClassSetTable(const v1::ClassSet& set, const Layout& layout) {
  const v1::ClassPrompt& prompt = set.prompt();
  const auto quoted = [&](const std::string& text) { return Quoted(text, layout.utf8); };
  std::vector<std::vector<std::string>> rows = {
      {"name", set.name()},
      {"names", absl::StrCat(set.num_names(), " of ", set.num_tokens(), " tokens together")},
      {"rows", absl::StrCat(set.internal_nodes(), " beside the context for one ranking")},
      {"question", quoted(prompt.question())}};
  if (!prompt.system().empty()) rows.push_back({"system", quoted(prompt.system())});
  if (prompt.plain()) rows.push_back({"plain", "yes"});
  if (prompt.has_separator()) rows.push_back({"separator", quoted(prompt.separator())});
  rows.push_back({"label prefix", quoted(set.label_prefix())});
  std::string demonstrations = absl::StrCat(set.num_demonstrations());
  if (set.num_shots() > 0) {
    absl::StrAppend(&demonstrations, ", ", set.num_shots(), " chosen for each picture");
  }
  rows.push_back({"demonstrations", demonstrations});
  rows.push_back({"size", FormatBytes(set.stored_bytes())});
  rows.push_back({"requests", absl::StrCat(set.requests())});
  rows.push_back({"age", Age(set)});
  if (!set.names().empty()) {
    constexpr int kTitleColumns = 16;  // "demonstrations" and the gap.
    std::string names = OneLine(absl::StrJoin(set.names(), ", "), layout.utf8);
    if (layout.columns > 0) {
      names = Fit(names, std::max(1, layout.columns - kTitleColumns), layout.utf8);
    }
    rows.push_back({"", std::move(names)});
  }
  return FormatTable(rows);
}

std::string ClassSetLine(const v1::ClassSet& set) {
  const v1::ClassPrompt& prompt = set.prompt();
  Json prompt_json = {
      {"system", prompt.system()}, {"question", prompt.question()}, {"plain", prompt.plain()}};
  if (prompt.has_separator()) prompt_json["separator"] = prompt.separator();
  Json json = {{"name", set.name()},
               {"num_names", set.num_names()},
               {"num_tokens", set.num_tokens()},
               {"internal_nodes", set.internal_nodes()},
               {"num_demonstrations", set.num_demonstrations()},
               {"num_shots", set.num_shots()},
               {"stored_bytes", set.stored_bytes()},
               {"label_prefix", set.label_prefix()},
               {"prompt", std::move(prompt_json)},
               {"create_time",
                absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", CreateTime(set), absl::UTCTimeZone())},
               {"age_ms", ToMillis(set.age())},
               {"requests", set.requests()}};
  if (!set.names().empty()) {
    json["names"] = std::vector<std::string>(set.names().begin(), set.names().end());
  }
  return Dump(json);
}

}  // namespace prefixd::ctl
