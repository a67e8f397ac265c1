#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/prefixctl/ask.h"
#include "client/prefixctl/class_prompt.h"
#include "client/prefixctl/classify_options.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/display_text.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"
#include "client/prefixctl/names_input.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/ranking_output.h"

namespace prefixd::ctl {
namespace {

// The request without its picture.
absl::StatusOr<v1::ClassifyRequest> Request(const Options& options) {
  const Classification& classification = options.classification;
  v1::ClassifyRequest request;
  request.set_model(options.model);
  v1::ClassQuery* const query = request.mutable_query();
  if (options.prompt) query->set_text(*options.prompt);
  if (!classification.class_set.empty()) {
    request.set_class_set(FullClassSetName(classification.class_set));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(std::vector<std::string> names, ReadNames(classification));
    for (std::string& name : names) request.mutable_names()->add_names(std::move(name));
    v1::ClassPrompt* const prompt = request.mutable_names()->mutable_prompt();
    *prompt = MakeClassPrompt(options);
    // Without a question the text is the question.
    if (options.prompt && !classification.question) prompt->set_question("{text}");
  }
  if (classification.label_prefix) request.set_label_prefix(*classification.label_prefix);
  request.set_normalization(classification.normalization);
  request.set_score_end(classification.score_end);
  if (classification.top_k) request.set_top_k(*classification.top_k);
  if (classification.all) {
    request.set_all_scores(true);
    if (!classification.top_k) request.set_top_k(INT32_MAX);
  }
  request.set_skip_probabilities(classification.no_probabilities);
  if (classification.temperature) request.set_temperature(*classification.temperature);
  if (classification.ensemble) request.set_ensemble(*classification.ensemble);
  request.set_seed(classification.seed);
  request.set_mode(classification.mode);
  request.set_bypass_prefix_cache(options.no_cache);
  request.set_cache_salt(options.cache_salt);
  return request;
}

absl::StatusOr<v1::ClassifyRequest> WithPicture(const v1::ClassifyRequest& request,
                                                const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadImage(path));
  v1::ClassifyRequest with = request;
  with.mutable_query()->mutable_image()->set_data(std::move(bytes));
  return with;
}

absl::Duration Timeout(const Session& session) {
  return session.options.timeout.value_or(absl::InfiniteDuration());
}

// One picture, or a text alone.
int ClassifyOne(Session* session, const v1::ClassifyRequest& request, const std::string& file) {
  const Options& options = session->options;
  const auto response = session->client->Classify(request, Timeout(*session));
  if (!response.ok()) return Fail(session, response.status());
  if (options.json) {
    PrintLine(RankingJsonLine(file, *response));
    return kExitOk;
  }
  if (options.classification.csv) {
    Print(
        absl::StrCat(kRankingCsvHeader, RankingCsv(file, *response, session->terminal.stdout_tty)));
    return kExitOk;
  }
  Print(RankingTable(*response, LayoutOf(session->terminal)));
  RankingTotals totals;
  totals.Add(*response);
  session->messages.Note(totals.Summary(ToMillis(response->timings().total())));
  return kExitOk;
}

// Shows the results of many pictures as they come.
class Results {
 public:
  Results(Session* session, const std::vector<std::string>& files)
      : session_(*session), files_(files), layout_(LayoutOf(session->terminal)) {
    if (layout_.columns == 0) return;
    for (const std::string& file : files) {
      file_columns_ = std::max(file_columns_, Columns(OneLine(file, layout_.utf8)));
    }
    file_columns_ = std::min(file_columns_, MaxFileColumns(layout_));
  }

  void Begin() const {
    if (session_.options.classification.csv) Print(kRankingCsvHeader);
  }

  void Show(const std::string& file, const absl::StatusOr<v1::ClassifyResponse>& result) {
    if (!result.ok()) {
      ShowError(file, result.status());
      return;
    }
    totals_.Add(*result);
    if (session_.options.json) {
      PrintLine(RankingJsonLine(file, *result));
    } else if (session_.options.classification.csv) {
      Print(RankingCsv(file, *result, session_.terminal.stdout_tty));
    } else {
      PrintLine(RankingLine(file, *result, file_columns_, layout_));
    }
  }

  // Says what it took and returns the exit code: that of the first picture that failed.
  int End(absl::Duration took) const {
    const Options& options = session_.options;
    if (options.json) return exit_code_;
    if (!options.classification.csv) {
      session_.messages.Note(absl::StrCat(files_.size(), " pictures, ", num_failed_, " failed; ",
                                          totals_.Summary(absl::ToDoubleMilliseconds(took))));
    } else if (num_failed_ > 0) {
      session_.messages.Note(absl::StrCat(files_.size(), " pictures, ", num_failed_, " failed"));
    }
    return exit_code_;
  }

 private:
  void ShowError(const std::string& file, const absl::Status& status) {
    ++num_failed_;
    if (exit_code_ == kExitOk) exit_code_ = ExitCodeOf(status);
    if (session_.options.json) {
      PrintLine(FileErrorJsonLine(file, status));
      return;
    }
    std::string message = Explain(status, session_.options.server).message;
    // The client's own errors name the file.
    if (!absl::StartsWith(message, absl::StrCat("image ", file))) {
      message = absl::StrCat(file, ": ", message);
    }
    session_.messages.Error(OneLine(message, session_.terminal.utf8), "");
  }

  const Session& session_;
  const std::vector<std::string>& files_;
  const Layout layout_;
  int file_columns_ = 0;
  RankingTotals totals_;
  int num_failed_ = 0;
  int exit_code_ = kExitOk;
};

// Whether every request of the command would end like this.
bool ConcernsAll(const absl::Status& status) {
  const std::string reason = GetErrorDetail(status).value_or(ErrorDetail{}).reason;
  return reason == "CLASS_SET_NOT_FOUND" || reason == "MODEL_NOT_FOUND" ||
         reason == "PARAMETER_OUT_OF_RANGE";
}

int ClassifyMany(Session* session, const v1::ClassifyRequest& request,
                 const std::vector<std::string>& files) {
  const absl::Time start = absl::Now();
  Results results(session, files);
  results.Begin();
  size_t next = 0;
  absl::Status refusal;
  absl::Status status = session->client->ClassifyBatch(
      [&]() -> std::optional<absl::StatusOr<v1::ClassifyRequest>> {
        if (next == files.size()) return std::nullopt;
        return WithPicture(request, files[next++]);
      },
      [&](int64_t index, const absl::StatusOr<v1::ClassifyResponse>& result) {
        if (ConcernsAll(result.status())) {
          refusal = result.status();
          return false;
        }
        results.Show(files[static_cast<size_t>(index)], result);
        return true;
      },
      Timeout(*session));
  if (status.ok()) status = refusal;
  if (!status.ok()) return Fail(session, status);
  return results.End(absl::Now() - start);
}

}  // namespace

int RunClassify(Session* session) {
  const absl::StatusOr<v1::ClassifyRequest> request = Request(session->options);
  if (!request.ok()) return Fail(session, request.status());
  const auto files = ExpandPatterns(session->options.images);
  if (!files.ok()) return Fail(session, files.status());
  if (files->empty()) return ClassifyOne(session, *request, "");
  if (files->size() > 1) return ClassifyMany(session, *request, *files);
  const absl::StatusOr<v1::ClassifyRequest> with = WithPicture(*request, files->front());
  if (!with.ok()) return Fail(session, with.status());
  return ClassifyOne(session, *with, files->front());
}

}  // namespace prefixd::ctl
