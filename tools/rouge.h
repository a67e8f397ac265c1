// ROUGE-L of two texts, as version 1.0.1 of the Python package `rouge` computes it: summary level,
// distinct words, case as it is. Pure; safe from any thread.
//
// A text is split at every "."; parts without a character are no sentences. A part becomes its
// words, separated by white space; a part of white space alone has one word, the empty one.
#ifndef PREFIXD_TOOLS_ROUGE_H_
#define PREFIXD_TOOLS_ROUGE_H_

#include "absl/strings/string_view.h"

namespace prefixd {

struct RougeScore {
  double recall = 0;     // Of the reference's distinct words.
  double precision = 0;  // Of the candidate's.
  double f = 0;          // 2PR / (P + R + 1e-8).
};

// Texts are valid UTF-8. A text without a sentence ("" or "...") scores 0; the package fails there.
// Takes time and memory of the product of the texts' words.
RougeScore RougeL(absl::string_view candidate, absl::string_view reference);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_ROUGE_H_
