// The table of options for people and for programs. docs/configuration.md is the first form.
#ifndef PREFIXD_SERVER_CONFIG_REFERENCE_H_
#define PREFIXD_SERVER_CONFIG_REFERENCE_H_

#include <string>

#include "server/resolve_options.h"

namespace prefixd {

std::string OptionReferenceMarkdown();
std::string OptionReferenceJson();

// The options in force as a configuration file; with `show_origin`, a comment says where each
// value comes from.
std::string OptionsAsConfig(const ResolvedOptions& resolved, bool show_origin);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONFIG_REFERENCE_H_
