// Parts of the table of options that have a file of their own; option_table.cc puts them together.
#ifndef PREFIXD_SERVER_OPTION_PARTS_H_
#define PREFIXD_SERVER_OPTION_PARTS_H_

#include <vector>

#include "server/option_table.h"

// A function from ServerOptions to one of its fields.
#define PREFIXD_FIELD(path) +[](ServerOptions& o) -> decltype((o.path)) { return o.path; }

namespace prefixd {

// The groups "Retention" and "Quality guard".
void AddRetentionOptions(std::vector<OptionSpec>* table);

// The group "Classification".
void AddClassificationOptions(std::vector<OptionSpec>* table);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_OPTION_PARTS_H_
