// What KV budgets give and cost, each measured against its bar; see docs/performance.md. Every
// figure is a ratio of two things measured in turns in one run. Bars are printed and kept in
// `bars`.
#ifndef PREFIXD_BENCH_RETENTION_PARTS_H_
#define PREFIXD_BENCH_RETENTION_PARTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/bars.h"
#include "bench/engine_client.h"

namespace prefixd {

// Opens an engine over the model of a part; what else the part wants is in `options`.
using EngineOpener =
    std::function<absl::StatusOr<std::unique_ptr<EngineClient>>(const EngineOptions& options)>;

// `request` under a budget of policy prefixkv.
Request WithBudget(Request request, RetentionScope scope, double budget);

// How many sessions fit in one pool: a budget of 20 % against full KV, each with a picture of its
// own (EXACT) and all on one picture (SHARED). `full_sessions`: of full KV that the pool is sized
// for; half of them for the second. `goal`: of EXACT; printed only.
absl::Status MeasureSessionsThatFit(const EngineOpener& open, const std::string& name,
                                    const std::string& picture, int full_sessions, double goal,
                                    Bars* bars);

// Physical pages that a budget of 50 % and 20 % frees, of those that it should, with the offline
// profile `profile`.
void MeasureFreedPages(EngineClient* client, const std::string& picture, const std::string& profile,
                       Bars* bars);

// The second session on a SHARED snapshot: what it computes and holds.
void MeasureSecondSession(EngineClient* client, const std::string& name, const std::string& picture,
                          int rounds, Bars* bars);

// What the scores cost a prefill of 640 tokens, beside one without retention. `picture` empty: text
// alone.
void MeasureImportance(EngineClient* client, const std::string& name, const std::string& picture,
                       int rounds, Bars* bars);

// Decoding of 16 sequences of 648 tokens under a budget of 20 % against full KV, and the part of a
// step that is for the prompt's KV: what it takes more than one after prompts of 8 tokens. `least`:
// the bar; 0: none.
void MeasureDecode(EngineClient* client, const std::string& name, const std::string& picture,
                   int rounds, double least, Bars* bars);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_RETENTION_PARTS_H_
