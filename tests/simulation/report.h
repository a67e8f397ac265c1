// What a run found: the first violation, how often the rare paths were taken, and a hash of all
// that happened. Plain memory without pointers, so that a process that dies leaves it behind.
#ifndef PREFIXD_TESTS_SIMULATION_REPORT_H_
#define PREFIXD_TESTS_SIMULATION_REPORT_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace prefixd::simulation {

// Rare paths. A long run that never takes one of them proves less than it seems to.
#define PREFIXD_SIMULATION_MARK_LIST(X)                                           \
  X(kCopyOnWrite, "a shared page was copied before a write")                      \
  X(kFinished, "a request finished")                                              \
  X(kEndOfSequence, "a choice ended at the end of sequence")                      \
  X(kStopToken, "a choice ended at a stop token")                                 \
  X(kStopString, "a choice ended at a stop string")                               \
  X(kContextFull, "a choice filled the context")                                  \
  X(kTimeLimitWaiting, "a time limit ended a request that never started")         \
  X(kTimeLimitPrefill, "a time limit ended a prefill")                            \
  X(kTimeLimitDecode, "a time limit ended a decode")                              \
  X(kTimeLimitHeldText, "a time limit gave out text that was held back")          \
  X(kCancelWaiting, "a request was cancelled while it waited")                    \
  X(kCancelPrefill, "a request was cancelled in its prefill")                     \
  X(kCancelDecode, "a request was cancelled while it decoded")                    \
  X(kCancelParked, "a parked request was cancelled")                              \
  X(kCancelEncoding, "a request was cancelled while its image was encoded")       \
  X(kCancelLastToken, "a request was cancelled with one token to go")             \
  X(kCancelSomeChoicesDone, "a request was cancelled with some choices finished") \
  X(kDeadlineWaiting, "a deadline passed while a request waited")                 \
  X(kDeadlineRunning, "a deadline passed while a request ran")                    \
  X(kDeadlineParked, "a deadline passed while a request was parked")              \
  X(kDeadlineRefused, "a deadline was refused on arrival")                        \
  X(kNeverFits, "a request that can never fit was refused")                       \
  X(kTooManyChoices, "a request with more choices than run at once was refused")  \
  X(kAllParked, "nothing was computed because every request was parked")          \
  X(kResumed, "a parked request went on")                                         \
  X(kPagesBlockAdmission, "a request waited although a choice was free")          \
  X(kChunkInsideImage, "a chunk began inside an image")                           \
  X(kSeveralImages, "a prompt with several images was computed")                  \
  X(kForwardFailed, "a step failed with several requests in it")                  \
  X(kForwardFailedEncoding, "a step failed that also encoded an image")           \
  X(kForwardFailedCopies, "a step failed that had copied pages")                  \
  X(kCopyFailed, "a copy of pages failed")                                        \
  X(kNotFinite, "logits were not finite while batch mates went on")               \
  X(kImageFailed, "an image failed while others were computed")                   \
  X(kFullBatch, "a step filled its budget")                                       \
  X(kFailAll, "everything was ended at once")                                     \
  X(kHit, "a prompt began in the prefix cache")                                   \
  X(kPartialHit, "a hit ended inside a column")                                   \
  X(kHitInsideImage, "a hit ended inside an image")                               \
  X(kColumnWaited, "a request waited for a column that another computes")         \
  X(kWaiterAdopted, "a request that waited took over what the other computed")    \
  X(kWaiterPromoted, "a request that waited computed the column itself")          \
  X(kImageWaited, "a request waited for an image that another encodes")           \
  X(kFeatureHit, "an image's features were cached")                               \
  X(kEvicted, "a column was evicted")                                             \
  X(kEvictedAfterEnd, "a column was evicted one step after a request let go")     \
  X(kDuplicate, "a column was published that was there")                          \
  X(kCollision, "two columns had one key")                                        \
  X(kMissEvicted, "a prompt missed what had been evicted")                        \
  X(kMissDiverged, "a prompt went another way than what is cached")               \
  X(kPreemptedPrefill, "a request in prefill was preempted")                      \
  X(kPreemptedDecode, "a request that decodes was preempted")                     \
  X(kPreemptedParked, "a parked request was preempted")                           \
  X(kPreemptedChoices, "a request with several choices was preempted")            \
  X(kPreemptedFinished, "a request finished after it had been preempted")         \
  X(kPreemptedTwice, "a request was preempted twice")                             \
  X(kPreemptedCancelled, "a preempted request was cancelled while it waited")     \
  X(kFlushed, "cached columns were flushed while requests ran")                   \
  X(kPinned, "a prefix was pinned")                                               \
  X(kPinnedHit, "a prompt began in a pinned prefix")                              \
  X(kPinRefused, "a prefix was not pinned for want of room")                      \
  X(kPinReleased, "a pinned prefix was released while requests ran on it")        \
  X(kPinExpired, "a pinned prefix expired")                                       \
  X(kQuotaReached, "a tenant held its whole quota of pages")                      \
  X(kFloorKept, "a tenant at rest kept cached pages at or below its floor")       \
  X(kDrained, "a request was ended by a drain")                                   \
  X(kSelected, "a budget left less than all of a prompt")                         \
  X(kSelectedAgain, "a selection was made again after a preemption")              \
  X(kMerged, "what was dropped was averaged into what was kept")                  \
  X(kDropped, "a token took the slot of one that was dropped")                    \
  X(kDropInSharedPage, "a slot was dropped in a page that a fork shares")         \
  X(kReplayed, "a token was computed again after a preemption under a budget")    \
  X(kHitCutToScores, "a hit was cut back to the columns that have scores")        \
  X(kSnapshotHit, "a prompt began in a snapshot")                                 \
  X(kSnapshotOutlivesColumns, "a snapshot was hit whose columns were evicted")    \
  X(kSnapshotEvicted, "a snapshot was evicted")                                   \
  X(kSnapshotCollision, "two snapshots had one key")                              \
  X(kNothingToShare, "SHARED was refused for want of something to share")         \
  X(kScopeFellBack, "a default of SHARED ran as EXACT")                           \
  X(kGatherFailed, "a move of slots failed")

enum class Mark {
#define PREFIXD_SIMULATION_MARK_NAME(name, sentence) name,
  PREFIXD_SIMULATION_MARK_LIST(PREFIXD_SIMULATION_MARK_NAME)
#undef PREFIXD_SIMULATION_MARK_NAME
      kCount
};
inline constexpr size_t kNumMarks = static_cast<size_t>(Mark::kCount);
absl::string_view MarkSentence(Mark mark);

class Report {
 public:
  // Notes a violation of `rule` (docs/testing.md); only the first counts.
  void Fail(absl::string_view rule, absl::string_view message);
  bool failed() const { return failed_; }
  absl::string_view rule() const { return rule_.data(); }
  absl::string_view message() const { return message_.data(); }

  // What was being tried; shown beside a failure.
  void set_context(absl::string_view context);
  absl::string_view context() const { return context_.data(); }

  // The number of the event that is being handled; that of the failure, once there is one.
  uint64_t event() const { return event_; }
  void NextEvent() { event_ += failed_ ? 0 : 1; }
  uint64_t steps() const { return steps_; }
  void NextStep() { ++steps_; }

  void Reach(Mark mark) { ++marks_[static_cast<size_t>(mark)]; }
  const std::array<uint64_t, kNumMarks>& marks() const { return marks_; }

  void Trace(uint64_t value) { trace_ = (trace_ ^ value) * 0x100000001B3u; }
  uint64_t trace() const { return trace_; }

 private:
  bool failed_ = false;
  uint64_t event_ = 0, steps_ = 0;
  uint64_t trace_ = 0xCBF29CE484222325u;
  std::array<uint64_t, kNumMarks> marks_{};
  std::array<char, 64> rule_{};
  std::array<char, 1024> message_{}, context_{};
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_REPORT_H_
