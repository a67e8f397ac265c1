// What ranking and scoring gave, from the engine's values to the wire. Pure functions.
#ifndef PREFIXD_SERVER_CLASSIFICATION_TO_PROTO_H_
#define PREFIXD_SERVER_CLASSIFICATION_TO_PROTO_H_

#include <string>

#include "absl/time/time.h"
#include "engine/classification.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd {

void ToProto(ClassifyResult result, v1::ClassifyResponse* out);
void ToProto(ScoreResult result, v1::ScoreResponse* out);
// With the names if `set` has them. `wall_now`: the time for people at which `set` was read.
void ToProto(ClassSetInfo set, absl::Time wall_now, v1::ClassSet* out);

// What the log says of a result: " prompt=5 cached=3 candidates=100 rows=12".
std::string Describe(const Usage& usage, const ScoringReceipt& receipt);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CLASSIFICATION_TO_PROTO_H_
