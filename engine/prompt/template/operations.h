// What operators do with values, as Python does. Errors of all: INVALID_ARGUMENT (types that do not
// go together, undefined operands, numbers beyond 64 bits, limits). One render, one thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_OPERATIONS_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_OPERATIONS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/prompt/template/ast.h"
#include "engine/prompt/template/heap.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Heap* heap, int depth = 0);
// a < b.
absl::StatusOr<bool> Less(const Value& a, const Value& b, Heap* heap, int depth = 0);
absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap);
// A comparison or a membership test.
absl::StatusOr<bool> Compare(Operator op, const Value& a, const Value& b, Heap* heap);
absl::StatusOr<Value> Arithmetic(Operator op, const Value& a, const Value& b, Heap* heap);
absl::StatusOr<Value> Unary(Operator op, const Value& operand);

// The items of an iteration: characters, items, keys. A generator is spent.
absl::StatusOr<std::vector<Value>> Items(const Value& value, Heap* heap);
absl::StatusOr<int64_t> Length(const Value& value, Heap* heap);

// container[index]; undefined if there is nothing. Methods are not looked for.
absl::StatusOr<Value> Item(const Value& container, const Value& index, Heap* heap);
// The entry of a dict, or null.
absl::StatusOr<const Value*> FindEntry(const Dict& dict, const Value& key, Heap* heap);
// Adds or replaces an entry.
absl::Status SetEntry(Value key, Value value, Heap* heap, Dict* dict);
// container[start:stop:step]; undefined values stand for absent ones.
absl::StatusOr<Value> Slice(const Value& container, const Value& start, const Value& stop,
                            const Value& step, Heap* heap);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_OPERATIONS_H_
