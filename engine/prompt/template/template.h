// A Jinja template, parsed once and rendered many times. Evaluation is bounded and touches nothing
// but its variables: no files, no environment, no clock but the one given. Immutable; safe from any
// thread. The language: docs/chat_templates.md.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_TEMPLATE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/prompt/template/ast.h"
#include "engine/prompt/template/heap.h"
#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

using Variables = std::vector<std::pair<absl::string_view, Value>>;

struct RenderOptions {
  // Of the output, and of every string on the way; at most kMaxTextBytes.
  uint64_t max_output_bytes = 4 << 20;
  absl::Time now = absl::UnixEpoch();  // What strftime_now tells, in local time.
};

class Template {
 public:
  // Errors: INVALID_ARGUMENT (malformed, over a limit) or UNIMPLEMENTED (not in the subset), naming
  // line and construct.
  static absl::StatusOr<std::unique_ptr<const Template>> Parse(absl::string_view source);

  // Makes the variables in the heap of the render. Names and values outlive the call.
  using MakeVariables = std::function<absl::StatusOr<Variables>(Heap* heap)>;

  // Errors: INVALID_ARGUMENT: the message of raise_exception, or "chat template, line N: ...".
  absl::StatusOr<Text> Render(const MakeVariables& variables, const RenderOptions& options) const;

 private:
  explicit Template(Block block) : block_(std::move(block)) {}

  const Block block_;
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_TEMPLATE_H_
