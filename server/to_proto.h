// From the engine's values to the wire. Pure functions.
#ifndef PREFIXD_SERVER_TO_PROTO_H_
#define PREFIXD_SERVER_TO_PROTO_H_

#include <string>

#include "absl/time/time.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "prefixd/v1/admin_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"
#include "prefixd/v1/model_service.pb.h"
#include "server/request_limits.h"

namespace prefixd {

void ToProto(absl::Duration duration, google::protobuf::Duration* out);
// `time` is one for people. Requires: it is finite.
void ToProto(absl::Time time, google::protobuf::Timestamp* out);

void ToProto(const StartedEvent& event, absl::Duration time_left, v1::Started* out);
void ToProto(DeltaEvent event, v1::Delta* out);
void ToProto(const ChoiceFinishedEvent& event, v1::ChoiceFinished* out);
void ToProto(const Usage& usage, v1::Usage* out);
void ToProto(const Timings& timings, v1::Timings* out);
void ToProto(const CacheReceipt& receipt, v1::CacheReceipt* out);

// Backend and level, "cpu/avx512", or the backend alone if it has no level.
std::string EngineName(const EngineRuntimeInfo& runtime);

// `seed` is the one in force. The parts of retention and the cache are left for the caller.
void FillReceipt(const EngineModelInfo& model, const EngineRuntimeInfo& runtime, uint64_t seed,
                 v1::Receipt* out);

// Whether prefixes are shared is left for the caller.
void ToProto(const EngineModelInfo& model, EngineState state, const RequestLimits& limits,
             v1::Model* out);
void ToProto(const RequestInfo& request, v1::RequestSummary* out);
void FillEngineInfo(const EngineRuntimeInfo& runtime, const EngineStats& stats,
                    v1::EngineInfo* out);

v1::ServerState ToServerState(EngineState state);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TO_PROTO_H_
