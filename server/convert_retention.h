// The retention part of convert.h, and its way back to the wire. Pure functions.
#ifndef PREFIXD_SERVER_CONVERT_RETENTION_H_
#define PREFIXD_SERVER_CONVERT_RETENTION_H_

#include "engine/engine.h"
#include "engine/request.h"
#include "prefixd/v1/admin_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"
#include "prefixd/v1/params.pb.h"
#include "server/violations.h"

namespace prefixd {

// What is not set stays unset: the engine knows the tenant's defaults and its own. Names must be
// among those of `model`. Violations name fields below "retention".
RetentionParams ConvertRetention(const v1::RetentionParams& message, const EngineModelInfo& model,
                                 Violations* violations);

// Sets what is set.
void ToProto(const RetentionParams& params, v1::RetentionParams* out);
void ToProto(const RetentionReceipt& receipt, v1::RetentionReceipt* out);
void ToProto(const RetentionStats& stats, v1::RetentionStats* out);

// The share of the scores that is kept, mean over the selections; 1 without any.
double MeanScoreMass(const RetentionStats& stats);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_RETENTION_H_
