// String operations that filters and methods share. They keep the marks of every byte. Errors of
// all: INVALID_ARGUMENT when a limit is met. One render, one thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_OPERATIONS_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_OPERATIONS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/prompt/template/heap.h"
#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

// str.strip and its sides; without `chars`: white space.
absl::StatusOr<Value> StripText(const Text& text, const Text* chars, bool left, bool right,
                                Heap* heap);

// str.replace; a negative `count` is all of them.
absl::StatusOr<Value> ReplaceText(const Text& text, const Text& from, const Text& to, int64_t count,
                                  Heap* heap);

// str.split; without `separator`: at runs of white space. A negative `count` is all of them.
absl::StatusOr<Value> SplitText(const Text& text, const Text* separator, int64_t count, Heap* heap);
absl::StatusOr<Value> SplitTextFromRight(const Text& text, const Text* separator, int64_t count,
                                         Heap* heap);

// str.splitlines.
std::vector<Text> SplitLines(const Text& text, bool keep_ends);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_OPERATIONS_H_
