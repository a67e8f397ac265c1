// What `top` shows: from what was asked of the server to lines of text. Pure functions;
// full_screen.h brings the lines to a terminal.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TOP_VIEW_H_
#define PREFIXD_CLIENT_PREFIXCTL_TOP_VIEW_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "prefixd/v1/admin_service.pb.h"

namespace prefixd::ctl {

// One look at the server.
struct TopSample {
  absl::Time time;  // Monotonic.
  v1::GetServerInfoResponse info;
  v1::GetCacheStatsResponse cache;
  v1::GetPageMapResponse map;  // Empty: the server has none.
  v1::ListRequestsResponse requests;
};

struct TopStyle {
  int columns = 80;    // Of the terminal; a line never has more.
  int rows = 0;        // Of the terminal; 0: as many lines as there are.
  bool utf8 = false;   // Else ASCII alone.
  bool color = false;  // Else not one escape code.
  bool keys = false;   // Whether the last line tells the keys.
  bool paused = false;
  std::string error;  // Why the last look failed; empty: it did not.
};

// Rows of the page map that fit; its cells are this times the columns.
int MapRows(const TopStyle& style);

// `before`: the look before, for rates; null: they are not known. Lines carry no line feed.
// What the server says is shown as printable ASCII, whatever it holds.
std::vector<std::string> RenderTop(const TopSample& now, const TopSample* before,
                                   const TopStyle& style);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TOP_VIEW_H_
