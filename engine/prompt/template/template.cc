#include "engine/prompt/template/template.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/parser.h"

namespace prefixd::jinja {

absl::StatusOr<std::unique_ptr<const Template>> Template::Parse(absl::string_view source) {
  PREFIXD_ASSIGN_OR_RETURN(Block block, ParseTemplate(source));
  return std::unique_ptr<const Template>(new Template(std::move(block)));
}

absl::StatusOr<Text> Template::Render(const MakeVariables& variables,
                                      const RenderOptions& options) const {
  Interpreter interpreter(options.max_output_bytes, options.now);
  Heap& heap = interpreter.heap();
  PREFIXD_ASSIGN_OR_RETURN(Scope* const functions, heap.NewScope(nullptr));
  for (const auto& [name, callee] : Functions()) {
    PREFIXD_ASSIGN_OR_RETURN(const Value function, heap.NewCallable({.callee = callee}));
    functions->variables.emplace_back(name, function);
  }
  PREFIXD_ASSIGN_OR_RETURN(Scope* const globals, heap.NewScope(functions));
  PREFIXD_ASSIGN_OR_RETURN(globals->variables, variables(&heap));
  PREFIXD_ASSIGN_OR_RETURN(Scope* const scope, heap.NewScope(globals));
  Text out;
  const absl::Status status = interpreter.Run(block_, scope, &out).status();
  if (status.ok()) return out;
  if (interpreter.raised()) return status;
  return Fail(absl::StrCat("chat template, line ", interpreter.line(), ": ", status.message()));
}

}  // namespace prefixd::jinja
