// What operators see of the cache, from the engine's values to the wire. Pure functions.
#ifndef PREFIXD_SERVER_CACHE_TO_PROTO_H_
#define PREFIXD_SERVER_CACHE_TO_PROTO_H_

#include "engine/engine.h"
#include "prefixd/v1/admin_service.pb.h"

namespace prefixd {

void ToProto(const EngineStats& stats, v1::GetCacheStatsResponse* out);
void ToProto(const FlushResult& result, v1::FlushCacheResponse* out);
void ToProto(const PageMap& map, v1::GetPageMapResponse* out);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CACHE_TO_PROTO_H_
