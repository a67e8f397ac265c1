// The four promises of shared prefixes, each measured against its bar; see docs/performance.md.
#ifndef PREFIXD_BENCH_SHARING_H_
#define PREFIXD_BENCH_SHARING_H_

#include <string>

#include "bench/bars.h"
#include "bench/engine_client.h"

namespace prefixd {

// Later questions about a cached picture: no tower, only its own tokens, about the time of a text
// of that length, and the bytes of an engine that knows nothing.
void MeasureLaterQuestions(EngineClient* client, const std::string& picture, int rounds,
                           Bars* bars);

// 64 sessions that arrive at once with the same picture, against the same without sharing.
void MeasureSessions(EngineClient* client, const std::string& name, const std::string& picture,
                     int rounds, double least_speedup, Bars* bars);

// What the cache costs prompts that share nothing.
void MeasureOverhead(EngineClient* client, int rounds, Bars* bars);

// How soon the pages of requests that are cancelled at any moment come back.
void MeasureCancel(EngineClient* client, const std::string& picture, int trials, Bars* bars);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_SHARING_H_
