// Ranking names, and scoring texts, over one context: plain values between the server and the
// engine, and the door behind which it happens (docs/classification.md). Field paths in errors are
// those of the proto (`prefixd.v1.ClassifyRequest`).
#ifndef PREFIXD_ENGINE_CLASSIFICATION_H_
#define PREFIXD_ENGINE_CLASSIFICATION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/request.h"

namespace prefixd {

// How the sum of the log-probs of a name's tokens becomes its score.
enum class Normalization {
  kMean,   // Divided by the number of tokens (Alayrac et al., 2022).
  kSum,    // As it is.
  kChars,  // Divided by the bytes of the name.
  kPmi,    // Less the sum under the null context (pointwise mutual information).
};

// A solved example that stands before the question: one turn of the conversation.
struct Demonstration {
  std::optional<ImagePart> image;
  std::string text;  // Takes the place of {text} in the question.
  std::string label;
};

// How a picture and a text are made a context. With a chat template: user turns of image and
// question, answered by labels. Without one (or with `plain`) the same as one text, and `separator`
// after each label.
struct ClassPrompt {
  std::string system;    // A system message in front; chat only.
  std::string question;  // "{text}" stands for the text of the query or demonstration.
  bool plain = false;    // No chat template although the model has one.
  std::string separator = "\n";
};

// A set of class names that many requests rank.
struct ClassSetSpec {
  std::string tenant;
  std::string id;  // 1..63 of [a-z0-9-].
  std::vector<std::string> names;
  std::string label_prefix;  // In front of every name when it is tokenised.
  ClassPrompt prompt;
  std::vector<Demonstration> demonstrations;
  // 0: all demonstrations, in this order. Else so many are chosen for each query: those whose
  // pictures are most like the query's, the most similar last (RICES).
  int32_t num_shots = 0;
  std::string null_text;  // Of kPmi: the context without the query; empty: the question alone.
};

struct ClassSetInfo {
  std::string name;  // "classSets/ID".
  int32_t num_names = 0;
  int64_t num_tokens = 0;      // Of all names.
  int32_t internal_nodes = 0;  // Rows that one ranking of all takes beside the context.
  int32_t num_demonstrations = 0;
  int32_t num_shots = 0;
  uint64_t stored_bytes = 0;
  std::string label_prefix;
  ClassPrompt prompt;
  std::vector<std::string> names;  // Of Get only.
  absl::Time created;
  uint64_t requests = 0;  // Since the process started.
};

// What is put into the prompt of a class set.
struct ClassQuery {
  std::optional<ImagePart> image;
  std::string text;
};

enum class ScoringMode {
  kPacked,        // All names in one pass over the cached context.
  kTokenByToken,  // One row a step, name after name, over the cached context: for comparison.
  kUncached,      // Context and name computed anew for each name: for comparison.
};

struct ClassifyRequest {
  std::string id;  // As Request::id.
  std::string tenant;
  std::variant<ClassQuery, Input> context;
  std::string class_set;  // Name; empty: `names` are in the request.
  std::vector<std::string> names;
  std::optional<std::string> label_prefix;  // Unset: the set's; "" for names of the request.
  std::optional<ClassPrompt> prompt;        // For a query with names of the request.
  Normalization normalization = Normalization::kMean;
  bool score_end = false;     // The end-of-answer token is scored as part of each name.
  int32_t top_k = 5;          // [1, names].
  bool all_scores = false;    // Scores of all names, in their order.
  bool probabilities = true;  // Over all names. Without them, and without all_scores, names that
                              // cannot be among the best are not computed.
  double temperature = 1.0;   // Of the probabilities; (0, 100].
  int32_t ensemble = 1;       // [1, 6]: scores are means over so many orders of demonstrations.
  uint64_t seed = 0;          // Of those orders.
  ScoringMode mode = ScoringMode::kPacked;
  int32_t priority = 0;
  bool bypass_prefix_cache = false;
  std::string cache_salt;
  absl::Time deadline = absl::InfiniteFuture();
};

struct ClassScore {
  int32_t index = 0;  // Among the names.
  std::string name;
  double score = 0;     // Normalised; mean over the ensemble.
  double log_prob = 0;  // Sum over its tokens; mean over the ensemble.
  int32_t num_tokens = 0;
  std::optional<double> probability;
};

struct ClassifyResult {
  std::string request_id;
  std::string model;
  std::vector<ClassScore> top;        // Best first.
  std::vector<double> scores;         // [names] with all_scores.
  std::vector<double> probabilities;  // [names] with all_scores and probabilities.
  std::vector<std::string> shots;     // Labels of the demonstrations that stood before the query.
  Usage usage;                        // Of all contexts together.
  CacheReceipt cache;                 // Sums over them; miss: of the first.
  ScoringReceipt scoring;
  Timings timings;
};

// Log-probs of texts behind a prompt, and of the prompt itself.
struct ScoreRequest {
  std::string id;
  std::string tenant;
  Input input;
  std::string prefix;  // As Request::prefix.
  // Texts (tokenised on their own) or token ids; none: only the prompt is scored.
  std::vector<std::variant<std::string, std::vector<int32_t>>> continuations;
  bool echo = false;  // The prompt's own tokens are scored too.
  ScoringMode mode = ScoringMode::kPacked;
  int32_t priority = 0;
  bool bypass_prefix_cache = false;
  std::string cache_salt;
  absl::Time deadline = absl::InfiniteFuture();
};

struct ScoredToken {
  int32_t token_id = 0;
  std::string token;              // Raw bytes.
  std::optional<float> log_prob;  // Unset: the first token of a prompt, or an image's row.
};

struct ScoreResult {
  struct Continuation {
    double log_prob = 0;  // Sum.
    std::vector<ScoredToken> tokens;
  };
  std::string request_id;
  std::string model;
  std::vector<Continuation> continuations;
  std::vector<ScoredToken> prompt;  // With echo.
  Usage usage;
  CacheReceipt cache;
  ScoringReceipt scoring;
  Timings timings;
};

// Limits of classification, with the options that set them.
struct ClassificationOptions {
  std::string state_dir;                  // Class sets are kept below it; empty: in memory only.
  int32_t max_names = 10000;              // Of a request or a set.
  int32_t max_name_bytes = 1024;          // Of one name.
  int32_t max_name_tokens = 65536;        // Of all names together.
  int32_t max_demonstrations = 1024;      // Of a set.
  uint64_t max_set_bytes = 64 << 20;      // Names and pictures of a set.
  int32_t max_sets = 1000;                // Of a tenant.
  uint64_t scoring_workspace = 32 << 20;  // Scratch of a scoring pass beside the KV, bytes.
};

// Ranks and scores. Every method is thread-safe. `done` is called once, by any thread, and must not
// block. Errors that all have: those of Engine::Submit and of the input.
class Classifier {
 public:
  virtual ~Classifier() = default;

  // Errors: INVALID_ARGUMENT (PARAMETER_OUT_OF_RANGE, INPUT_INVALID) naming the field and both
  // numbers; NOT_FOUND (CLASS_SET_NOT_FOUND).
  virtual void Classify(ClassifyRequest request,
                        std::function<void(absl::StatusOr<ClassifyResult>)> done) = 0;
  virtual void Score(ScoreRequest request,
                     std::function<void(absl::StatusOr<ScoreResult>)> done) = 0;
  // Ends a Classify or Score within one step with CANCELLED. Unknown ids: nothing happens.
  virtual void Cancel(absl::string_view tenant, absl::string_view request_id) = 0;

  // Stores a set; where a state directory is configured it is on disk when `done` is called.
  // Errors: ALREADY_EXISTS (CLASS_SET_EXISTS); RESOURCE_EXHAUSTED (TENANT_QUOTA); INVALID_ARGUMENT.
  virtual void CreateClassSet(ClassSetSpec spec,
                              std::function<void(absl::StatusOr<ClassSetInfo>)> done) = 0;
  // A name that another tenant owns is NOT_FOUND, CLASS_SET_NOT_FOUND.
  virtual absl::StatusOr<ClassSetInfo> GetClassSet(absl::string_view tenant,
                                                   absl::string_view name) = 0;
  virtual std::vector<ClassSetInfo> ListClassSets(absl::string_view tenant) = 0;  // By name.
  virtual absl::Status DeleteClassSet(absl::string_view tenant, absl::string_view name) = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFICATION_H_
