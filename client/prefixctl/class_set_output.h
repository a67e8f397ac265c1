// Shows class sets. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CLASS_SET_OUTPUT_H_
#define PREFIXD_CLIENT_PREFIXCTL_CLASS_SET_OUTPUT_H_

#include <string>
#include <vector>

#include "client/prefixctl/ranking_output.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

// A row of `class-sets list`: name, names, tokens, rows, examples, shots, size, requests, age.
std::vector<std::string> ClassSetRow(const v1::ClassSet& set);

// Everything about one set. Its names are on one line, which is cut off where the terminal ends.
std::string ClassSetTable(const v1::ClassSet& set, const Layout& layout);

// A line of JSON; "names" only if they are there. A contract with scripts: docs/client.md.
std::string ClassSetLine(const v1::ClassSet& set);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CLASS_SET_OUTPUT_H_
