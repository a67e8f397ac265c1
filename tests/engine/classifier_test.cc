// Ranking and scoring through the engine's door, on the demo model: every way gives the bits of
// every other, nothing of it shows in what others are told, and the cache is used as it is told.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>
#include <map>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

constexpr char kModel[] = PREFIXD_SOURCE_DIR "/models/demo";

// Pictures [0, 20] of the demo's.
std::string Picture(int index) {
  static const int kNumbers[] = {1,  2,  3,  4,  5,  6,  7,  9,  10, 11, 12,
                                 13, 15, 16, 17, 18, 19, 21, 22, 23, 24};
  const int number = kNumbers[index];
  return *ReadFile(
      absl::StrCat(kModel, "/pictures/picture-", number < 10 ? "0" : "", number, ".png"), 1 << 20);
}

// What a request was told, all of it.
class Recorder final : public EventSink {
 public:
  void OnEvent(Event event) override {
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      for (const LogprobEntry& entry : delta->logprobs) logprobs.push_back(entry.sampled.logprob);
      ids.insert(ids.end(), delta->token_ids.begin(), delta->token_ids.end());
    } else if (std::holds_alternative<FinishedEvent>(event)) {
      end.set_value(absl::OkStatus());
    } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
      end.set_value(failed->status);
    }
  }
  std::vector<float> logprobs;
  std::vector<int32_t> ids;
  std::promise<absl::Status> end;
};

class ClassifierTest : public ::testing::Test {
 protected:
  void Serve(EngineOptions options = {}) {
    options.model_path = kModel;
    options.backend = "cpu";
    if (options.kv_memory_bytes == 0) options.kv_memory_bytes = 64 << 20;
    options.max_images = 16;
    options.check_invariants = true;
    auto engine = Engine::Open(options, &clock_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    ASSERT_TRUE(engine_->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
  }

  // One prefix of another, equal ones, single tokens, common beginnings.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const char* colour : {"red", "blue", "green", "yellow"}) {
      for (const char* shape : {"circle", "square", "ring", "triangle"}) {
        names.push_back(absl::StrCat("a ", colour, " ", shape));
      }
    }
    for (const char* name : {"a red circle", "a red", "a", "yes", "no", "3", "the number 3",
                             "one red circle and one blue square", "a red circles"}) {
      names.emplace_back(name);
    }
    return names;
  }

  ClassifyRequest Query(int picture, std::vector<std::string> names) {
    ClassifyRequest request;
    request.id = absl::StrCat("call ", ++calls_);
    request.context =
        ClassQuery{.image = ImagePart{.bytes = Picture(picture), .sha256 = ""}, .text = ""};
    request.names = std::move(names);
    request.prompt = ClassPrompt{.question = "Describe the image."};
    request.all_scores = true;
    return request;
  }

  absl::StatusOr<ClassifyResult> Classify(ClassifyRequest request) {
    std::promise<absl::StatusOr<ClassifyResult>> result;
    engine_->classifier()->Classify(
        std::move(request),
        [&result](absl::StatusOr<ClassifyResult> r) { result.set_value(std::move(r)); });
    return result.get_future().get();
  }
  absl::StatusOr<ScoreResult> Score(ScoreRequest request) {
    request.id = absl::StrCat("score ", ++calls_);
    std::promise<absl::StatusOr<ScoreResult>> result;
    engine_->classifier()->Score(std::move(request), [&result](absl::StatusOr<ScoreResult> r) {
      result.set_value(std::move(r));
    });
    return result.get_future().get();
  }
  absl::StatusOr<ClassSetInfo> Create(ClassSetSpec spec) {
    std::promise<absl::StatusOr<ClassSetInfo>> result;
    engine_->classifier()->CreateClassSet(
        std::move(spec),
        [&result](absl::StatusOr<ClassSetInfo> r) { result.set_value(std::move(r)); });
    return result.get_future().get();
  }

  Input Chat(int picture, const std::string& text = "Describe the image.") const {
    ChatMessage message;
    if (picture >= 0) message.parts.push_back(ImagePart{Picture(picture), ""});
    message.parts.push_back(TextPart{text});
    return ChatInput{{message}};
  }

  // The log-prob of each of `ids` behind the context, one by one, as generation has them.
  std::vector<float> Forced(const Input& input, const std::vector<int32_t>& ids) {
    Request request{.id = absl::StrCat("forced ", ++calls_), .input = input};
    request.output.logprobs = 0;
    request.forced_output = ids;
    request.bypass_prefix_cache = true;
    auto recorder = std::make_shared<Recorder>();
    EXPECT_TRUE(engine_->Submit(std::move(request), recorder).ok());
    EXPECT_TRUE(recorder->end.get_future().get().ok());
    return recorder->logprobs;
  }

  std::vector<int32_t> Generated(const Input& input) {
    Request request{.id = absl::StrCat("generated ", ++calls_), .input = input};
    request.output.token_ids = true;
    request.stopping.max_tokens = 24;
    auto recorder = std::make_shared<Recorder>();
    EXPECT_TRUE(engine_->Submit(std::move(request), recorder).ok());
    EXPECT_TRUE(recorder->end.get_future().get().ok());
    return recorder->ids;
  }

  std::vector<int32_t> Encode(const std::string& name) const {
    return *tokenizer_->Encode({{.text = name, .trusted = false}}, false);
  }

  const MonotonicClock clock_;
  const std::unique_ptr<const Tokenizer> tokenizer_ = *Tokenizer::Load(kModel);
  std::unique_ptr<Engine> engine_;
  int calls_ = 0;
};

TEST_F(ClassifierTest, ScoresAreThoseOfEachNameAlone) {
  Serve();
  const std::vector<std::string> names = Names();
  ClassifyRequest request = Query(15, names);
  request.normalization = Normalization::kSum;
  const auto result = Classify(std::move(request));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->scores.size(), names.size());
  for (size_t k = 0; k < names.size(); ++k) {
    double sum = 0;
    for (const float logprob : Forced(Chat(15), Encode(names[k]))) sum += logprob;
    EXPECT_NEAR(result->scores[k], sum, 1e-4) << names[k];
  }
  EXPECT_EQ(result->scores[0], result->scores[16]);  // The same name twice.
  EXPECT_NEAR(std::accumulate(result->probabilities.begin(), result->probabilities.end(), 0.0), 1.0,
              1e-9);
  ASSERT_EQ(result->top.size(), 5u);
  for (size_t i = 1; i < result->top.size(); ++i) {
    EXPECT_GE(result->top[i - 1].score, result->top[i].score);
  }
}

TEST_F(ClassifierTest, EveryModeGivesTheSameBits) {
  Serve();
  for (const bool score_end : {false, true}) {
    std::vector<std::vector<double>> scores;
    for (const ScoringMode mode :
         {ScoringMode::kPacked, ScoringMode::kTokenByToken, ScoringMode::kUncached}) {
      ClassifyRequest request = Query(3, Names());
      request.mode = mode;
      request.score_end = score_end;
      auto result = Classify(std::move(request));
      ASSERT_TRUE(result.ok()) << result.status();
      scores.push_back(std::move(result->scores));
    }
    EXPECT_EQ(scores[0], scores[1]);
    EXPECT_EQ(scores[0], scores[2]);
  }
}

TEST_F(ClassifierTest, TheOrderOfNamesChangesNoBit) {
  Serve();
  const std::vector<std::string> names = Names();
  std::vector<size_t> order(names.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto first = Classify(Query(4, names));
  ASSERT_TRUE(first.ok());
  std::mt19937 random(1);
  for (int round = 0; round < 5; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<std::string> shuffled;
    for (const size_t i : order) shuffled.push_back(names[i]);
    const auto result = Classify(Query(4, shuffled));
    ASSERT_TRUE(result.ok());
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_EQ(result->scores[i], first->scores[order[i]]);
    }
  }
}

TEST_F(ClassifierTest, AContextIsComputedOnce) {
  Serve();
  const auto first = Classify(Query(5, Names()));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->cache.computed_tokens, first->usage.prompt_tokens);
  EXPECT_EQ(first->cache.images_encoded, 1);
  EXPECT_GT(first->scoring.computed_rows, 0);
  EXPECT_GT(first->scoring.saved_rows, first->scoring.computed_rows);
  EXPECT_EQ(first->scoring.passes, 1);
  EXPECT_EQ(first->scoring.context_hits, 0);

  const auto second = Classify(Query(5, Names()));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->scores, first->scores);
  EXPECT_EQ(second->cache.computed_tokens, 0);
  EXPECT_EQ(second->cache.hit_tokens, first->usage.prompt_tokens);
  EXPECT_EQ(second->cache.images_encoded, 0);
  EXPECT_EQ(second->scoring.computed_rows, first->scoring.computed_rows);
  EXPECT_EQ(second->scoring.context_hits, 1);
  EXPECT_EQ(second->scoring.contexts, 1);

  // Names of one token take no row at all.
  std::vector<std::string> single;
  for (const char* name : {"yes", "no", "a", "3", "red", "blue"}) {
    if (Encode(name).size() == 1) single.emplace_back(name);
  }
  ASSERT_GE(single.size(), 2u);
  single.resize(2);
  const auto two = Classify(Query(5, single));
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(two->cache.computed_tokens, 0);
  EXPECT_EQ(two->scoring.computed_rows, 0);
  EXPECT_EQ(two->scoring.passes, 0);
}

TEST_F(ClassifierTest, ContextsThatEndWithAPageAreHitsToo) {
  Serve();
  // Sixteen lengths: one of them ends with a page.
  for (int length = 0; length < 16; ++length) {
    ScoreRequest request;
    TokenInput tokens;
    for (int i = 0; i < 40 + length; ++i) tokens.ids.push_back(5 + (i * 7 + length) % 250);
    request.input = tokens;
    request.continuations = {std::vector<int32_t>{9, 8, 7}, std::vector<int32_t>{9, 5}};
    ScoreRequest again = request;
    const auto first = Score(std::move(request));
    const auto second = Score(std::move(again));
    ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
    EXPECT_EQ(second->cache.computed_tokens, 0) << length;
    EXPECT_EQ(second->scoring.context_hits, 1) << length;
    for (size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(first->continuations[k].log_prob, second->continuations[k].log_prob);
    }
  }
}

TEST_F(ClassifierTest, GenerationAfterwardsIsAsAlone) {
  Serve();
  const std::vector<int32_t> alone = Generated(Chat(6));
  Serve();
  ASSERT_TRUE(Classify(Query(6, Names())).ok());
  ASSERT_TRUE(Classify(Query(6, Names())).ok());
  EXPECT_EQ(Generated(Chat(6)), alone);
  const auto after = Classify(Query(6, Names()));
  Serve();
  EXPECT_EQ(Classify(Query(6, Names()))->scores, after->scores);
}

TEST_F(ClassifierTest, TheBestAloneAreTheBestOfAll) {
  Serve();
  for (const Normalization normalization :
       {Normalization::kMean, Normalization::kSum, Normalization::kChars, Normalization::kPmi}) {
    ClassifyRequest all = Query(7, Names());
    all.normalization = normalization;
    const auto full = Classify(std::move(all));
    ASSERT_TRUE(full.ok()) << full.status();
    ClassifyRequest few = Query(7, Names());
    few.normalization = normalization;
    few.all_scores = few.probabilities = false;
    few.top_k = 3;
    const auto best = Classify(std::move(few));
    ASSERT_TRUE(best.ok()) << best.status();
    ASSERT_EQ(best->top.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(best->top[i].index, full->top[i].index);
      EXPECT_EQ(best->top[i].score, full->top[i].score);
      EXPECT_FALSE(best->top[i].probability.has_value());
    }
    EXPECT_LE(best->scoring.computed_rows, full->scoring.computed_rows);
    if (normalization == Normalization::kSum) {
      EXPECT_GT(best->scoring.pruned_nodes, 0);
    }
  }
}

TEST_F(ClassifierTest, PmiIsTheDifferenceToTheContextWithoutAPicture) {
  Serve();
  ClassifyRequest pmi = Query(8, Names());
  pmi.normalization = Normalization::kPmi;
  ClassifyRequest sum = Query(8, Names());
  sum.normalization = Normalization::kSum;
  ClassifyRequest null_context = Query(8, Names());
  null_context.normalization = Normalization::kSum;
  null_context.context = Chat(-1);
  const auto with = Classify(std::move(sum)), without = Classify(std::move(null_context));
  const auto difference = Classify(std::move(pmi));
  ASSERT_TRUE(with.ok() && without.ok() && difference.ok()) << difference.status();
  for (size_t k = 0; k < with->scores.size(); ++k) {
    EXPECT_EQ(difference->scores[k], with->scores[k] - without->scores[k]);
  }
  EXPECT_EQ(difference->scoring.contexts, 2);
  ClassifyRequest again = Query(9, Names());
  again.normalization = Normalization::kPmi;
  EXPECT_EQ(Classify(std::move(again))->scoring.contexts, 1);  // The null context is known.
}

TEST_F(ClassifierTest, LogProbsOfThePromptComeFromTheCacheToo) {
  Serve();
  for (const int picture : {-1, 9}) {
    ScoreRequest request;
    request.input = Chat(picture,
                         "Describe the image. Then describe it once more, in other words, "
                         "and at length, please: every shape and every colour of it.");
    request.echo = true;
    request.continuations = {std::string("a red circle")};
    ScoreRequest again = request, alone = request;
    alone.bypass_prefix_cache = true;
    const auto first = Score(std::move(request)), second = Score(std::move(again));
    const auto cold = Score(std::move(alone));
    ASSERT_TRUE(first.ok() && second.ok() && cold.ok()) << first.status() << cold.status();
    EXPECT_GT(second->cache.hit_tokens, 0.9 * first->usage.prompt_tokens - 16);
    ASSERT_EQ(first->prompt.size(), static_cast<size_t>(first->usage.prompt_tokens));
    int scored = 0;
    for (size_t i = 0; i < first->prompt.size(); ++i) {
      EXPECT_EQ(first->prompt[i].log_prob, second->prompt[i].log_prob) << i;
      EXPECT_EQ(first->prompt[i].log_prob, cold->prompt[i].log_prob) << i;
      scored += first->prompt[i].log_prob.has_value() ? 1 : 0;
    }
    EXPECT_EQ(scored, first->usage.prompt_tokens - first->usage.image_tokens - 1);
    EXPECT_EQ(first->continuations[0].log_prob, cold->continuations[0].log_prob);
  }
}

TEST_F(ClassifierTest, LogProbsOfThePromptAreThoseOfGeneration) {
  Serve();
  TokenInput tokens;
  for (int i = 0; i < 70; ++i) tokens.ids.push_back(5 + (i * 37) % 250);
  ScoreRequest request;
  request.input = tokens;
  request.echo = true;
  const auto scored = Score(std::move(request));
  ASSERT_TRUE(scored.ok()) << scored.status();
  const std::vector<float> forced =
      Forced(TokenInput{{tokens.ids[0]}, {}}, {tokens.ids.begin() + 1, tokens.ids.end()});
  EXPECT_FALSE(scored->prompt[0].log_prob.has_value());
  for (size_t i = 0; i < forced.size(); ++i) {
    EXPECT_NEAR(*scored->prompt[i + 1].log_prob, forced[i], 1e-5) << i;
  }
}

TEST_F(ClassifierTest, ManyAtOnceInASmallPoolGetTheBitsOfOneAlone) {
  Serve();
  std::map<int, std::vector<double>> alone;
  for (int picture = 0; picture < 6; ++picture) {
    alone[picture] = Classify(Query(picture, Names()))->scores;
  }
  Serve({.kv_memory_bytes = 3 << 19, .max_batch_tokens = 64, .max_running = 16});
  std::vector<std::future<absl::StatusOr<ClassifyResult>>> results;
  for (int i = 0; i < 48; ++i) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<ClassifyResult>>>();
    results.push_back(promise->get_future());
    ClassifyRequest request = Query(i % 6, Names());
    request.priority = i % 3;
    engine_->classifier()->Classify(
        std::move(request),
        [promise](absl::StatusOr<ClassifyResult> r) { promise->set_value(std::move(r)); });
  }
  for (int i = 0; i < 48; ++i) {
    const auto result = results[static_cast<size_t>(i)].get();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->scores, alone[i % 6]) << i;
  }
  EXPECT_GT(engine_->Stats()->preemptions + engine_->Stats()->cache.evicted_columns, 0u);
}

TEST_F(ClassifierTest, RefusesWhatCannotBe) {
  Serve();
  const auto code = [&](const std::function<void(ClassifyRequest*)>& change) {
    ClassifyRequest request = Query(1, Names());
    change(&request);
    return Classify(std::move(request)).status().code();
  };
  using enum absl::StatusCode;
  EXPECT_EQ(code([](auto* r) { r->names = {"one"}; }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->names = {"one", ""}; }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->names = {"one", "\xff"}; }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->names[1].assign(1 << 20, 'x'); }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->names.assign(1000000, "x"); }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) {
              r->names[0].assign(1000, 'x');
              r->names.resize(2);
            }),
            kOk);
  EXPECT_EQ(code([](auto* r) { r->temperature = 0; }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->ensemble = 3; }), kInvalidArgument);
  EXPECT_EQ(code([](auto* r) { r->class_set = "classSets/none"; }), kNotFound);
  EXPECT_EQ(code([](auto* r) { r->deadline = absl::InfinitePast(); }), kDeadlineExceeded);
  EXPECT_EQ(code([](auto* r) { std::get<ClassQuery>(r->context).text = "no place"; }),
            kInvalidArgument);
  // The longest name does not fit behind a context that is nearly full.
  TokenInput full;
  full.ids.assign(2040, 5);
  ClassifyRequest request = Query(1, {"a red circle and many more words behind it", "no"});
  request.context = full;
  const auto refused = Classify(std::move(request));
  EXPECT_EQ(GetErrorDetail(refused.status())->reason, "CONTEXT_LENGTH_EXCEEDED");
}

TEST_F(ClassifierTest, DemonstrationsAreComputedOnceForAllQueries) {
  Serve();
  ClassSetSpec spec{
      .id = "shapes", .names = Names(), .prompt = {.question = "Describe the image."}};
  for (int i = 0; i < 3; ++i) {
    spec.demonstrations.push_back(
        {.image = ImagePart{Picture(i), ""}, .text = "", .label = Names()[static_cast<size_t>(i)]});
  }
  ClassSetSpec twin = spec;
  const auto created = Create(std::move(spec));
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->name, "classSets/shapes");
  EXPECT_EQ(created->num_demonstrations, 3);
  EXPECT_GT(created->internal_nodes, 0);
  EXPECT_EQ(Create(std::move(twin)).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_EQ(engine_->ListPrefixes("").size(), 1u);  // Pinned.
  const auto ask = [&](int picture) {
    ClassifyRequest request = Query(picture, {});
    request.class_set = "classSets/shapes";
    request.prompt.reset();
    return Classify(std::move(request));
  };
  for (int picture = 10; picture < 14; ++picture) {
    const auto result = ask(picture);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->cache.images_encoded, 1);
    EXPECT_LT(result->cache.computed_tokens, 2 * 144);  // The query's picture and words.
    EXPECT_EQ(result->shots.size(), 3u);
  }
  // The same by hand.
  ChatInput chat;
  for (int i = 0; i < 3; ++i) {
    chat.messages.push_back(
        {Role::kUser, {ImagePart{Picture(i), ""}, TextPart{"Describe the image."}}});
    chat.messages.push_back({Role::kAssistant, {TextPart{Names()[static_cast<size_t>(i)]}}});
  }
  chat.messages.push_back(
      {Role::kUser, {ImagePart{Picture(13), ""}, TextPart{"Describe the image."}}});
  ClassifyRequest by_hand = Query(13, Names());
  by_hand.context = chat;
  by_hand.bypass_prefix_cache = true;
  EXPECT_EQ(Classify(std::move(by_hand))->scores, ask(13)->scores);
  EXPECT_EQ(engine_->classifier()->GetClassSet("", "classSets/shapes")->requests, 5u);
  EXPECT_TRUE(engine_->classifier()->DeleteClassSet("", "classSets/shapes").ok());
  EXPECT_EQ(ask(13).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_->ListPrefixes("").empty());
}

TEST_F(ClassifierTest, AnEnsembleIsTheMeanOverOrders) {
  Serve();
  ClassSetSpec spec{.id = "mean", .names = Names(), .prompt = {.question = "Describe the image."}};
  for (int i = 0; i < 3; ++i) {
    spec.demonstrations.push_back({.image = ImagePart{Picture(i), ""},
                                   .text = "",
                                   .label = Names()[static_cast<size_t>(5 * i)]});
  }
  ASSERT_TRUE(Create(std::move(spec)).ok());
  const auto ask = [&](int ensemble, uint64_t seed) {
    ClassifyRequest request = Query(12, {});
    request.class_set = "classSets/mean";
    request.prompt.reset();
    request.ensemble = ensemble;
    request.seed = seed;
    return Classify(std::move(request));
  };
  const auto one = ask(1, 0), many = ask(4, 7), same = ask(4, 7);
  ASSERT_TRUE(one.ok() && many.ok() && same.ok()) << many.status();
  EXPECT_EQ(many->scoring.contexts, 4);
  EXPECT_EQ(many->scores, same->scores);
  EXPECT_NE(many->scores, one->scores);
}

TEST_F(ClassifierTest, ChosenDemonstrationsAreTheMostSimilarTheBestLast) {
  const std::string dir = ::testing::TempDir() + "/prefixd_rices";
  std::filesystem::remove_all(dir);
  for (const bool restarted : {false, true}) {
    EngineOptions options;
    options.classification.state_dir = dir;
    engine_.reset();
    Serve(options);
    if (!restarted) {
      ClassSetSpec spec{
          .id = "rices", .names = Names(), .prompt = {.question = "Describe the image."}};
      for (int i = 0; i < 10; ++i) {
        spec.demonstrations.push_back(
            {.image = ImagePart{Picture(i), ""}, .text = "", .label = absl::StrCat("label ", i)});
      }
      spec.num_shots = 2;
      const auto created = Create(std::move(spec));
      ASSERT_TRUE(created.ok()) << created.status();
    }
    for (int picture = 0; picture < 3; ++picture) {
      ClassifyRequest request = Query(picture, {});
      request.class_set = "classSets/rices";
      request.prompt.reset();
      const auto result = Classify(std::move(request));
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_EQ(result->shots.size(), 2u);
      EXPECT_EQ(result->shots[1], absl::StrCat("label ", picture));  // Itself is nearest.
    }
  }
}

TEST_F(ClassifierTest, ACancelledCallEndsAndLeavesNothing) {
  Serve({.max_batch_tokens = 64, .max_running = 16});
  ClassifyRequest request = Query(1, Names());
  request.mode = ScoringMode::kUncached;
  const std::string id = request.id;
  std::promise<absl::StatusOr<ClassifyResult>> result;
  engine_->classifier()->Classify(std::move(request), [&result](absl::StatusOr<ClassifyResult> r) {
    result.set_value(std::move(r));
  });
  engine_->classifier()->Cancel("", id);
  EXPECT_EQ(result.get_future().get().status().code(), absl::StatusCode::kCancelled);
  ClassifyRequest next = Query(1, {"yes", "no"});
  next.id = id;  // Free again.
  EXPECT_TRUE(Classify(std::move(next)).ok());
}

}  // namespace
}  // namespace prefixd
