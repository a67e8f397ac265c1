// Pieces that several lines of --json share. Keys are a contract with scripts: docs/client.md. Pure
// functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_JSON_PARTS_H_
#define PREFIXD_CLIENT_PREFIXCTL_JSON_PARTS_H_

#include <string>

#include <nlohmann/json.hpp>

#include "prefixd/v1/classification_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"

namespace prefixd::ctl {

// Keys stay in the order in which they are written.
using Json = nlohmann::ordered_json;

// One line, always valid JSON: bytes that are not UTF-8 become U+FFFD. Control characters are
// escaped, those beyond ASCII too: the line may be shown on a terminal.
std::string Dump(const Json& json);

Json ToJson(const v1::Usage& usage);
Json ToJson(const v1::CacheReceipt& cache);
Json ToJson(const v1::ScoringReceipt& scoring);
// Without first_token, which scoring does not have.
Json ScoringTimingsJson(const v1::Timings& timings);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_JSON_PARTS_H_
