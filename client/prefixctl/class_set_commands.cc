#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "client/prefixctl/class_prompt.h"
#include "client/prefixctl/class_set_output.h"
#include "client/prefixctl/classify_options.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/display_text.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/names_input.h"
#include "client/prefixctl/table.h"

namespace prefixd::ctl {
namespace {

absl::StatusOr<v1::CreateClassSetRequest> Request(const Options& options) {
  const Classification& classification = options.classification;
  v1::CreateClassSetRequest request;
  request.set_class_set_id(classification.set);
  request.set_model(options.model);
  PREFIXD_ASSIGN_OR_RETURN(std::vector<std::string> names, ReadNames(classification));
  for (std::string& name : names) request.add_names(std::move(name));
  request.set_label_prefix(classification.label_prefix.value_or(""));
  *request.mutable_prompt() = MakeClassPrompt(options);
  if (!classification.demonstrations.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(std::vector<v1::Demonstration> demonstrations,
                             ReadDemonstrations(classification.demonstrations));
    for (v1::Demonstration& demonstration : demonstrations) {
      *request.add_demonstrations() = std::move(demonstration);
    }
  }
  request.set_num_shots(classification.shots);
  request.set_null_text(classification.null_text);
  return request;
}

}  // namespace

int RunClassSetCreate(Session* session) {
  const absl::StatusOr<v1::CreateClassSetRequest> request = Request(session->options);
  if (!request.ok()) return Fail(session, request.status());
  const absl::Duration timeout = session->options.timeout.value_or(absl::InfiniteDuration());
  const auto set = session->client->CreateClassSet(*request, timeout);
  if (!set.ok()) return Fail(session, set.status());
  if (session->options.json) {
    PrintLine(ClassSetLine(*set));
    return kExitOk;
  }
  // The name alone goes to stdout, for scripts.
  PrintLine(set->name());
  session->messages.Note(absl::StrCat(set->num_names(), " names, ", set->internal_nodes(),
                                      " rows a ranking; rank them with `prefixctl classify "
                                      "--class-set ",
                                      set->name(), " -i FILE`"));
  return kExitOk;
}

int RunClassSetList(Session* session) {
  const auto sets = session->client->ListClassSets();
  if (!sets.ok()) return Fail(session, sets.status());
  std::vector<std::vector<std::string>> rows = {
      {"CLASS SET", "NAMES", "TOKENS", "ROWS", "EXAMPLES", "SHOTS", "SIZE", "REQUESTS", "AGE"}};
  for (const v1::ClassSet& set : *sets) {
    if (session->options.json) PrintLine(ClassSetLine(set));
    rows.push_back(ClassSetRow(set));
  }
  if (session->options.json) return kExitOk;
  if (sets->empty()) {
    session->messages.Note("no class sets");
    return kExitOk;
  }
  Print(FormatTable(rows));
  return kExitOk;
}

int RunClassSetGet(Session* session) {
  const Classification& classification = session->options.classification;
  const auto set = session->client->GetClassSet(FullClassSetName(classification.set));
  if (!set.ok()) return Fail(session, set.status());
  if (session->options.json) {
    PrintLine(ClassSetLine(*set));
  } else if (classification.names_only) {
    const bool tty = session->terminal.stdout_tty;
    for (const std::string& name : set->names()) {
      PrintLine(tty ? OneLine(name, session->terminal.utf8) : name);
    }
  } else {
    Print(ClassSetTable(*set, LayoutOf(session->terminal)));
  }
  return kExitOk;
}

int RunClassSetDelete(Session* session) {
  const absl::Status status =
      session->client->DeleteClassSet(FullClassSetName(session->options.classification.set));
  if (!status.ok()) return Fail(session, status);
  session->messages.Note("deleted");
  return kExitOk;
}

}  // namespace prefixd::ctl
