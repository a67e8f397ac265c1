// The commands of prefixctl. Each returns the exit code.
#ifndef PREFIXD_CLIENT_PREFIXCTL_COMMANDS_H_
#define PREFIXD_CLIENT_PREFIXCTL_COMMANDS_H_

#include "client/prefixctl/session.h"

namespace prefixd::ctl {

int RunAsk(Session* session);         // run: one question, or the conversation of repl.h.
int RunCount(Session* session);       // count
int RunModelsList(Session* session);  // models, models list
int RunModelsShow(Session* session);  // models show
int RunPs(Session* session);          // ps
int RunHealth(Session* session);      // health
int RunWait(Session* session);        // wait
int RunVersion(Session* session);     // version
int RunCacheStats(Session* session);  // cache, cache stats
int RunCacheFlush(Session* session);  // cache flush
int RunTop(Session* session);         // top
int RunDoctor(Session* session);      // doctor

int RunPrefixCreate(Session* session);   // prefix create
int RunPrefixList(Session* session);     // prefix, prefix list, cache prefixes
int RunPrefixShow(Session* session);     // prefix show
int RunPrefixTouch(Session* session);    // prefix touch
int RunPrefixRelease(Session* session);  // prefix release

int RunClassify(Session* session);        // classify
int RunClassSetList(Session* session);    // class-sets, class-sets list
int RunClassSetGet(Session* session);     // class-sets get
int RunClassSetCreate(Session* session);  // class-sets create
int RunClassSetDelete(Session* session);  // class-sets delete
int RunScore(Session* session);           // score

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_COMMANDS_H_
