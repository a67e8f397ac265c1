// What the command line says about classify, class-sets and score. A value.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CLASSIFICATION_H_
#define PREFIXD_CLIENT_PREFIXCTL_CLASSIFICATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

// What is not set is the server's to choose.
struct Classification {
  // classify and class-sets create: at most one of the two.
  std::optional<std::string> names;  // Comma-separated.
  std::string names_file;            // One a line; "-" is stdin.
  std::optional<std::string> question;
  std::optional<std::string> label_prefix;
  bool plain = false;

  // classify
  std::string class_set;  // As typed: with or without "classSets/". Instead of names.
  v1::Normalization normalization = v1::NORMALIZATION_UNSPECIFIED;
  bool score_end = false;
  std::optional<int32_t> top_k;
  bool all = false;
  std::optional<double> temperature;
  std::optional<int32_t> ensemble;
  uint64_t seed = 0;
  bool no_probabilities = false;
  bool csv = false;
  // classify and score
  v1::ScoringMode mode = v1::SCORING_MODE_UNSPECIFIED;

  // class-sets
  std::string set;  // The set or its id, as typed.
  std::optional<std::string> separator;
  std::string demonstrations;  // File; empty: none.
  int32_t shots = 0;
  std::string null_text;
  bool names_only = false;

  // score
  std::vector<std::string> continuations;
  bool prompt_logprobs = false;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CLASSIFICATION_H_
