// The prompt of a class set from the command line. Pure function.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CLASS_PROMPT_H_
#define PREFIXD_CLIENT_PREFIXCTL_CLASS_PROMPT_H_

#include "client/prefixctl/options.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

v1::ClassPrompt MakeClassPrompt(const Options& options);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CLASS_PROMPT_H_
