// Owns what a render makes, all of it until its end, and counts what it costs. One render, one
// thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_HEAP_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_HEAP_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

// An error of the template or of what it was given, without a position.
absl::Status Fail(absl::string_view problem);

// Variables of a block, and the block around it. Names lie in the template or in its variables.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<absl::string_view, Value>> variables;
};

class Heap {
 public:
  // `max_text_bytes`: of one string. All of them together: kMaxOutputsInMemory times as much.
  explicit Heap(uint64_t max_text_bytes);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Each counts steps. Errors: INVALID_ARGUMENT once there are too many, or too much memory.
  absl::Status Charge(uint64_t steps);
  // For reading or searching through so many bytes.
  absl::Status ChargeBytes(uint64_t bytes) { return Charge(bytes / kBytesPerStep); }

  // Errors: INVALID_ARGUMENT if a string of that many bytes is too long. To be asked before it is
  // made, and while one grows.
  absl::Status CheckTextSize(uint64_t bytes) const;
  absl::Status CheckItems(uint64_t count) const;

  // Errors of all below: as Charge, CheckTextSize, CheckItems.
  absl::StatusOr<Value> NewText(Text text);
  absl::StatusOr<Value> NewString(absl::string_view bytes) { return NewText(Text(bytes)); }
  absl::StatusOr<Value> NewList(std::vector<Value> items,
                                List::Flavour flavour = List::Flavour::kList);
  absl::StatusOr<Value> NewDict(Dict dict);
  absl::StatusOr<Value> NewNamespace(Namespace space);
  absl::StatusOr<Value> NewCallable(const Callable& callable);
  absl::StatusOr<Scope*> NewScope(Scope* parent);

 private:
  const uint64_t max_text_bytes_;
  const uint64_t max_all_text_bytes_;
  uint64_t steps_ = 0;
  uint64_t text_bytes_ = 0;
  std::deque<Text> texts_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> spaces_;
  std::deque<Callable> callables_;
  std::deque<Scope> scopes_;
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_HEAP_H_
