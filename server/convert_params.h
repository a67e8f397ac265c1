// The parameter part of convert.h.
#ifndef PREFIXD_SERVER_CONVERT_PARAMS_H_
#define PREFIXD_SERVER_CONVERT_PARAMS_H_

#include "engine/engine.h"
#include "engine/request.h"
#include "prefixd/v1/params.pb.h"
#include "server/violations.h"

namespace prefixd {

// What is not set gets the model's default. Violations name fields below "sampling".
SamplingParams ConvertSampling(const v1::SamplingParams& message, const EngineModelInfo& model,
                               Violations* violations);

// Violations name fields below "stopping".
StoppingParams ConvertStopping(const v1::StoppingParams& message, const EngineModelInfo& model,
                               Violations* violations);

// Violations name fields below "output".
OutputParams ConvertOutput(const v1::OutputParams& message, Violations* violations);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_PARAMS_H_
