// Shows rankings: a table, a line, JSON, CSV. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_RANKING_OUTPUT_H_
#define PREFIXD_CLIENT_PREFIXCTL_RANKING_OUTPUT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/prefixctl/terminal.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

// How text is laid out. Names from anywhere are shown by display_text.h in every layout.
struct Layout {
  int columns = 0;  // 0: lines may be as long as they like, and nothing is cut off.
  bool color = false;
  bool utf8 = false;
};
// Of stdout.
Layout LayoutOf(const Terminal& terminal);

// A row for each name of `response.top()`: rank, name, probability, a bar (the best's is the
// longest) and score. The bar takes the room that is left and gives way to names.
std::string RankingTable(const v1::ClassifyResponse& response, const Layout& layout);

// The most columns that a file's name takes of a line; 0: as many as it likes.
int MaxFileColumns(const Layout& layout);

// One line: the file, the best name and its probability, then the names after it as far as there is
// room. Without probabilities: scores. `file_columns`: what the file's name is filled up to.
std::string RankingLine(absl::string_view file, const v1::ClassifyResponse& response,
                        int file_columns, const Layout& layout);

// {"event":"ranking",...}; "file" only if it is not empty. A contract with scripts: docs/client.md.
std::string RankingJsonLine(absl::string_view file, const v1::ClassifyResponse& response);
// ErrorLine with the file.
std::string FileErrorJsonLine(absl::string_view file, const absl::Status& status);

// "file,rank,name,probability,score" and rows of it, line feeds included, quoted as in RFC 4180.
// `escape` shows names by display_text.h, for terminals.
inline constexpr char kRankingCsvHeader[] = "file,rank,name,probability,score\n";
std::string RankingCsv(absl::string_view file, const v1::ClassifyResponse& response, bool escape);

// What rankings took, in a line for people. A value.
struct RankingTotals {
  void Add(const v1::ClassifyResponse& response);
  // "128 names; context 594 tokens, 592 cached; 143 rows computed, 210 saved; 38.2 ms".
  std::string Summary(double millis) const;

  int64_t candidates = 0;
  int64_t contexts = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t computed_rows = 0;
  int64_t saved_rows = 0;
  int64_t pruned_nodes = 0;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_RANKING_OUTPUT_H_
