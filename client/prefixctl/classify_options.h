// The command line of classify, class-sets and score.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CLASSIFY_OPTIONS_H_
#define PREFIXD_CLIENT_PREFIXCTL_CLASSIFY_OPTIONS_H_

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "absl/strings/string_view.h"
#include "client/prefixctl/options.h"

namespace prefixd::ctl {

// Adds the three commands; `commands` learns them.
void AddClassificationCommands(CLI::App* app, Options* options,
                               std::vector<std::pair<CLI::App*, Command>>* commands);

// What is wrong with the options of these commands together; empty: nothing, or another command.
absl::string_view CheckClassification(const Options& options);

// "animals" and "classSets/animals" name the same set; an empty name stays empty.
std::string FullClassSetName(absl::string_view name);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CLASSIFY_OPTIONS_H_
