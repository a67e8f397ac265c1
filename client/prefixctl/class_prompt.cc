#include "client/prefixctl/class_prompt.h"

namespace prefixd::ctl {

v1::ClassPrompt MakeClassPrompt(const Options& options) {
  const Classification& classification = options.classification;
  v1::ClassPrompt prompt;
  prompt.set_system(options.system);
  prompt.set_question(classification.question.value_or(""));
  prompt.set_plain(classification.plain);
  if (classification.separator) prompt.set_separator(*classification.separator);
  return prompt;
}

}  // namespace prefixd::ctl
