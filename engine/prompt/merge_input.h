// Puts the input of a pinned prefix before a request's own. Pure function.
#ifndef PREFIXD_ENGINE_PROMPT_MERGE_INPUT_H_
#define PREFIXD_ENGINE_PROMPT_MERGE_INPUT_H_

#include "absl/status/statusor.h"
#include "engine/request.h"

namespace prefixd {

// The parts, ids and messages of `prefix`, then those of `input`. Where the last message of the
// prefix and the first of the input have one role, they become one message.
// Errors: INVALID_ARGUMENT, INPUT_INVALID, if the two are not of one kind.
absl::StatusOr<Input> MergeInputs(const Input& prefix, Input input);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_MERGE_INPUT_H_
