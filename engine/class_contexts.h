// From the prompt of a class set, its demonstrations and a query to inputs
// (docs/classification.md). Pure; safe from any thread.
#ifndef PREFIXD_ENGINE_CLASS_CONTEXTS_H_
#define PREFIXD_ENGINE_CLASS_CONTEXTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/classification.h"
#include "engine/request.h"

namespace prefixd {

// What comes before the query: the system message and the demonstrations of `shots` (indices), in
// that order. chat: with the model's template. Empty (no message, no part) if there is nothing.
Input ShotsInput(const ClassPrompt& prompt, absl::Span<const Demonstration> demonstrations,
                 absl::Span<const int32_t> shots, bool chat);

// The query itself. Errors: INVALID_ARGUMENT naming the field: neither picture nor text nor
// question; a text that the question has no place for.
absl::StatusOr<Input> QueryInput(const ClassPrompt& prompt, const ClassQuery& query, bool chat);

// Both together.
absl::StatusOr<Input> JoinInputs(const Input& shots, Input query);
bool IsEmpty(const Input& input);

// `count` orders of 0..n-1, the first ascending, the others drawn from `seed`.
std::vector<std::vector<int32_t>> ShotOrders(int32_t n, int32_t count, uint64_t seed);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASS_CONTEXTS_H_
