// Mistakes that the simulation must find (docs/testing.md). A place that could go wrong asks
// PREFIXD_PLANTED(kName): in every product build that is the constant `false`; the simulation
// compiles the core once more with PREFIXD_PLANTED_BUGS, where at most one bug, chosen when the
// process starts, is on.
#ifndef PREFIXD_BASE_PLANTED_BUG_H_
#define PREFIXD_BASE_PLANTED_BUG_H_

// Every bug with the sentence that --list-bugs prints.
#define PREFIXD_PLANTED_BUG_LIST(X)                                                           \
  X(kSkipCopyOnWrite, "a shared page is written in place instead of being copied")            \
  X(kShareTakesNoReference, "a fork or a hit takes no reference on the pages that it shares") \
  X(kCopyDropped, "copies on write are planned and never made")                               \
  X(kCopiesOutliveAFailedStep, "a failed step leaves its page copies to the next one")        \
  X(kTenantNotInKey, "tenants share one namespace")                                           \
  X(kSaltNotInKey, "the cache salt is left out of the root key")                              \
  X(kParentNotCompared, "a column is found by its key below another parent")                  \
  X(kTokensNotCompared, "a column is found by its key although its tokens differ")            \
  X(kMediaNotCompared, "a column is found by its key although its images differ")             \
  X(kLastTokenMatched, "the last token of a prompt is taken from the cache")                  \
  X(kPartialOneTooLong, "a partial match takes one token more than is equal")                 \
  X(kPublishBeforeFull, "a column is published before its last token is computed")            \
  X(kDuplicateKeepsOwnPages, "who publishes a column that is there keeps its own pages")      \
  X(kPinnedIsEvicted, "eviction does not look at pins")                                       \
  X(kInnerIsEvicted, "a column that others follow is evicted")                                \
  X(kUnpinnedLeafIsLost, "a leaf that is unpinned never comes back to the order of eviction") \
  X(kParentIsLost, "a column whose last child went is never evicted")                         \
  X(kReleasedStaysPinned, "a released prefix keeps its pages")                                \
  X(kBypassSharesFeatures, "requests that bypass the cache share image features")             \
  X(kQuotaIgnored, "a tenant takes more pages than its quota")                                \
  X(kFloorIgnored, "others evict a tenant's cached pages below its floor")                    \
  X(kPrefillNotCharged, "the first tenant's prefills do not count against its share")         \
  X(kPromiseNotKept, "pages that one request reserved are promised to the next")              \
  X(kPromiseOnePageShort, "a request is promised one page less than it may hold")             \
  X(kRunningLimitIgnored, "admission forgets that a request has several choices")             \
  X(kPriorityIgnored, "requests start in order of arrival whatever their priority")           \
  X(kWaiterNeverRetries, "who waited for another's column is not asked again")                \
  X(kResumeForgetsStep, "a resumed request draws from the beginning of its numbers")          \
  X(kResumeForgetsPenalties, "a resumed request forgets what its penalties counted")          \
  X(kResumeSendsAgain, "a resumed request generates and sends again what it had sent")        \
  X(kHitsCountTwice, "a resumed request counts its hits once more")                           \
  X(kDoubleTerminal, "a request that ended fails once more")                                  \
  X(kLostCancelInFinalStep, "a cancel before the last token is forgotten")                    \
  X(kDeadlineSkipsParked, "the deadline of a parked request is not looked at")                \
  X(kTimeLimitDropsHeldText, "text held back for a stop string is lost at a time limit")      \
  X(kParkedIsComputed, "a parked request goes on decoding")                                   \
  X(kChunkSplitsImageWrong, "a chunk that begins inside an image takes its first rows")       \
  X(kChoiceNotInSampler, "every choice draws the numbers of the first one")                   \
  X(kPenaltyForgetsGenerated, "penalties do not see generated tokens")                        \
  X(kMinTokensOffByOne, "the end of sequence is allowed one token too early")                 \
  X(kFailureSparesImages, "a failed step forgets the requests that encode an image")          \
  X(kNanIsSampled, "logits that are not finite yield a token")                                \
  X(kHitBeyondScores, "a request that needs scores takes columns that have none")             \
  X(kScoresOutliveTheirKv, "a resumed prefill adds to the scores of the first one")           \
  X(kGatherDropped, "kept slots are not moved to the private pages")                          \
  X(kDropsNewest, "a new token takes the slot of the newest, not of the oldest")              \
  X(kDropForgotten, "drops begin one token late")                                             \
  X(kRecipeNotInSnapshotKey, "snapshots of different budgets have one key")                   \
  X(kSnapshotNotCompared, "a snapshot is found by its key although its tokens differ")        \
  X(kUsedSnapshotIsEvicted, "eviction does not look at who uses a snapshot")                  \
  X(kReplaySends, "a replayed token is sent once more")                                       \
  X(kReplaySkipsDrops, "replayed tokens drop nothing")                                        \
  X(kRootNotInSnapshotKey, "tenants and salts share snapshots")                               \
  X(kPieceCrossesBoundary, "a piece of prefill goes on beyond the selection")                 \
  X(kSuffixIsDropped, "what follows a shared prefix counts towards its budget")               \
  X(kForkHasNoBudget, "the choices of a request forget its budget")                           \
  X(kSlotKeepsScore, "a token begins with the score of the one that it replaces")             \
  X(kMergeDropped, "what is dropped is not averaged into what is kept")

namespace prefixd {

enum class PlantedBug {
  kNone,
#define PREFIXD_PLANTED_BUG_NAME(name, sentence) name,
  PREFIXD_PLANTED_BUG_LIST(PREFIXD_PLANTED_BUG_NAME)
#undef PREFIXD_PLANTED_BUG_NAME
};

#ifdef PREFIXD_PLANTED_BUGS
// Set before anything runs, read by one thread.
inline PlantedBug planted_bug = PlantedBug::kNone;
#define PREFIXD_PLANTED(name) (::prefixd::planted_bug == ::prefixd::PlantedBug::name)
#else
#define PREFIXD_PLANTED(name) (static_cast<void>(::prefixd::PlantedBug::name), false)
#endif

}  // namespace prefixd

#endif  // PREFIXD_BASE_PLANTED_BUG_H_
