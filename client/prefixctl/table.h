// Rows of text with columns of equal width.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TABLE_H_
#define PREFIXD_CLIENT_PREFIXCTL_TABLE_H_

#include <string>
#include <vector>

namespace prefixd::ctl {

// Returns one line for each row; columns are two spaces apart, nothing trails. Rows may be of
// unequal length. Widths are counted in bytes: names on the wire are ASCII.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TABLE_H_
