#include "client/prefixctl/score_output.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/prefixctl/display_text.h"
#include "client/prefixctl/json_parts.h"
#include "client/prefixctl/proto_time.h"

namespace prefixd::ctl {
namespace {

using Tokens = google::protobuf::RepeatedPtrField<v1::ScoredToken>;

// `" cat" -0.0131`; `"<image>" - x576` for many without a log-probability.
std::vector<std::string> Cells(const Tokens& tokens, bool utf8) {
  std::vector<std::string> cells;
  for (int i = 0; i < tokens.size();) {
    const v1::ScoredToken& token = tokens[i];
    int count = 1;
    if (!token.has_log_prob()) {
      while (i + count < tokens.size() && !tokens[i + count].has_log_prob() &&
             tokens[i + count].token_id() == token.token_id()) {
        ++count;
      }
    }
    std::string cell = Quoted(token.token(), utf8);
    if (token.has_log_prob()) {
      absl::StrAppendFormat(&cell, " %.4f", token.log_prob());
    } else {
      absl::StrAppend(&cell, " -");
    }
    if (count > 1) absl::StrAppend(&cell, " x", count);
    cells.push_back(std::move(cell));
    i += count;
  }
  return cells;
}

// Cells two spaces apart, on indented lines that end where the terminal does.
std::string CellLines(const std::vector<std::string>& cells, const Layout& layout) {
  std::string out;
  int used = 0;
  for (const std::string& cell : cells) {
    const int columns = Columns(cell) + 2;
    if (used > 0 && layout.columns > 0 && used + columns > layout.columns) {
      absl::StrAppend(&out, "\n");
      used = 0;
    }
    absl::StrAppend(&out, "  ", cell);
    used += columns;
  }
  return out.empty() ? out : absl::StrCat(out, "\n");
}

double Mean(const v1::ScoredContinuation& continuation) {
  return continuation.log_prob() / std::max(1, continuation.tokens_size());
}

Json TokensJson(const Tokens& tokens) {
  Json json = Json::array();
  for (const v1::ScoredToken& token : tokens) {
    std::vector<int> bytes;
    for (const char c : token.token()) bytes.push_back(static_cast<unsigned char>(c));
    Json entry = {{"token", token.token()}, {"token_id", token.token_id()}, {"bytes", bytes}};
    entry["logprob"] = token.has_log_prob() ? Json(token.log_prob()) : Json();
    json.push_back(std::move(entry));
  }
  return json;
}

// The nth text; empty if the server sends more than were asked for.
std::string TextAt(const std::vector<std::string>& texts, int index) {
  return static_cast<size_t>(index) < texts.size() ? texts[static_cast<size_t>(index)] : "";
}

}  // namespace

std::string ScoreTable(const std::vector<std::string>& texts, const v1::ScoreResponse& response,
                       const Layout& layout) {
  std::string out;
  if (!response.continuations().empty()) {
    out = absl::StrFormat("%10s  %10s  %6s  %s\n", "LOG PROB", "MEAN", "TOKENS", "CONTINUATION");
  }
  for (int i = 0; i < response.continuations_size(); ++i) {
    const v1::ScoredContinuation& continuation = response.continuations(i);
    std::string text = Quoted(TextAt(texts, i), layout.utf8);
    constexpr int kNumberColumns = 32;
    if (layout.columns > 0) {
      text = Fit(text, std::max(1, layout.columns - kNumberColumns), layout.utf8);
    }
    absl::StrAppendFormat(&out, "%10.4f  %10.4f  %6d  %s\n", continuation.log_prob(),
                          Mean(continuation), continuation.tokens_size(), text);
    absl::StrAppend(&out, CellLines(Cells(continuation.tokens(), layout.utf8), layout));
  }
  if (!response.prompt().empty()) {
    absl::StrAppend(&out, "PROMPT\n", CellLines(Cells(response.prompt(), layout.utf8), layout));
  }
  return out;
}

std::string ScoreLine(const std::vector<std::string>& texts, const v1::ScoreResponse& response) {
  Json json = {{"event", "scores"},
               {"request_id", response.request_id()},
               {"model", response.model()},
               {"continuations", Json::array()}};
  for (int i = 0; i < response.continuations_size(); ++i) {
    const v1::ScoredContinuation& continuation = response.continuations(i);
    json["continuations"].push_back({{"text", TextAt(texts, i)},
                                     {"log_prob", continuation.log_prob()},
                                     {"tokens", TokensJson(continuation.tokens())}});
  }
  if (!response.prompt().empty()) json["prompt"] = TokensJson(response.prompt());
  json["usage"] = ToJson(response.usage());
  json["cache"] = ToJson(response.cache());
  json["scoring"] = ToJson(response.scoring());
  json["timings_ms"] = ScoringTimingsJson(response.timings());
  return Dump(json);
}

std::string ScoreSummary(const v1::ScoreResponse& response) {
  return absl::StrFormat("context %d tokens, %d cached; %d rows computed, %d saved; %.1f ms",
                         response.usage().prompt_tokens(), response.usage().cached_prompt_tokens(),
                         response.scoring().computed_rows(), response.scoring().saved_rows(),
                         ToMillis(response.timings().total()));
}

}  // namespace prefixd::ctl
