// The first choice of an answer, gathered from the events of a stream. A value.
#ifndef PREFIXD_CLIENT_PREFIXCTL_ANSWER_H_
#define PREFIXD_CLIENT_PREFIXCTL_ANSWER_H_

#include <string>
#include <vector>

#include "prefixd/v1/generation_service.pb.h"

namespace prefixd::ctl {

struct Answer {
  void Add(const v1::GenerateResponse& event);

  std::string text;
  std::vector<v1::TokenLogprobs> logprobs;
  v1::Started started;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  v1::Finished finished;
  bool complete = false;  // `finished` came.
};

// "eos", "stop_string" and so on: the name of the value in the protos, without its prefix.
std::string FinishReasonName(v1::FinishReason reason);

// One line of usage and timings for people.
std::string Summary(const Answer& answer);

// "cached 580/594 tokens (97 %), image: cached", and why the rest was not, where that is not plain.
// Empty without a receipt of the cache (an older server).
std::string CacheSummary(const Answer& answer);

// "not_cached", "evicted" and so on: the name of the value in the protos, without its prefix.
std::string CacheMissName(v1::CacheMissReason miss);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_ANSWER_H_
