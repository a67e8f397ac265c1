// From the messages of ClassificationService to the engine's values: every field, every violation.
#include "server/convert_classification.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/server/convert_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RequestLimits Limits() {
  RequestLimits limits = FakeLimits();
  limits.classification.max_names = 4;
  limits.classification.max_name_bytes = 8;
  limits.classification.max_name_tokens = 6;
  limits.classification.max_demonstrations = 3;
  limits.classification.max_set_bytes = 200;
  return limits;
}

// "CODE REASON", then "field: description" for each violation; "OK".
std::vector<std::string> ProblemsOf(const absl::Status& status) {
  if (status.ok()) return {"OK"};
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  std::vector<std::string> problems = {
      absl::StrCat(absl::StatusCodeToString(status.code()), " ", detail.reason)};
  for (const FieldViolation& violation : detail.field_violations) {
    problems.push_back(absl::StrCat(violation.field, ": ", violation.description));
  }
  return problems;
}

constexpr char kInvalid[] = "INVALID_ARGUMENT INPUT_INVALID";
constexpr char kRange[] = "INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE";

// --- Classify ---------------------------------------------------------------------------------

v1::ClassifyRequest Valid() {
  v1::ClassifyRequest request;
  request.mutable_query()->mutable_image()->set_data("\x89PNG");
  request.mutable_names()->add_names("cat");
  request.mutable_names()->add_names("dog");
  return request;
}

using ClassifyChange = std::function<void(v1::ClassifyRequest*)>;

absl::StatusOr<ClassifyRequest> Classify(const ClassifyChange& change,
                                         const EngineModelInfo& model = FakeModel()) {
  v1::ClassifyRequest request = Valid();
  change(&request);
  return ConvertClassifyRequest(std::move(request), model, Limits());
}

TEST(ConvertClassify, HasTheDefaultsOfTheProto) {
  const auto request = Classify([](auto*) {});
  ASSERT_TRUE(request.ok()) << request.status();
  const auto& query = std::get<ClassQuery>(request->context);
  EXPECT_EQ(query.image->bytes, "\x89PNG");
  EXPECT_EQ(query.text, "");
  EXPECT_EQ(request->class_set, "");
  EXPECT_THAT(request->names, ElementsAre("cat", "dog"));
  EXPECT_FALSE(request->label_prefix.has_value());
  ASSERT_TRUE(request->prompt.has_value());
  EXPECT_EQ(request->prompt->question, "{text}");
  EXPECT_EQ(request->prompt->separator, "\n");
  EXPECT_FALSE(request->prompt->plain);
  EXPECT_EQ(request->normalization, Normalization::kMean);
  EXPECT_FALSE(request->score_end);
  EXPECT_EQ(request->top_k, 2);  // Of 5, as many as there are.
  EXPECT_FALSE(request->all_scores);
  EXPECT_TRUE(request->probabilities);
  EXPECT_EQ(request->temperature, 1.0);
  EXPECT_EQ(request->ensemble, 1);
  EXPECT_EQ(request->seed, 0u);
  EXPECT_EQ(request->mode, ScoringMode::kPacked);
  EXPECT_EQ(request->priority, 0);
  EXPECT_FALSE(request->bypass_prefix_cache);
}

TEST(ConvertClassify, TakesEveryField) {
  const auto request = Classify([](v1::ClassifyRequest* r) {
    r->set_request_id("a/1");
    r->set_model("fake");
    r->mutable_query()->set_text("furry");
    r->mutable_names()->add_names("cat");  // Equal names may be.
    v1::ClassPrompt* prompt = r->mutable_names()->mutable_prompt();
    prompt->set_system("Be brief.");
    prompt->set_question("What is {text}?");
    prompt->set_separator("");
    r->set_label_prefix(" ");
    r->set_normalization(v1::NORMALIZATION_PMI);
    r->set_score_end(true);
    r->set_top_k(1);
    r->set_all_scores(true);
    r->set_skip_probabilities(true);
    r->set_temperature(100);
    r->set_ensemble(1);
    r->set_seed(~uint64_t{0});
    r->set_mode(v1::SCORING_MODE_UNCACHED);
    r->set_priority(-100);
    r->set_bypass_prefix_cache(true);
    r->set_cache_salt("s");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(std::get<ClassQuery>(request->context).text, "furry");
  EXPECT_THAT(request->names, ElementsAre("cat", "dog", "cat"));
  EXPECT_EQ(request->prompt->system, "Be brief.");
  EXPECT_EQ(request->prompt->question, "What is {text}?");
  EXPECT_EQ(request->prompt->separator, "");
  EXPECT_EQ(request->label_prefix, " ");
  EXPECT_EQ(request->normalization, Normalization::kPmi);
  EXPECT_TRUE(request->score_end);
  EXPECT_EQ(request->top_k, 1);
  EXPECT_TRUE(request->all_scores);
  EXPECT_FALSE(request->probabilities);
  EXPECT_EQ(request->temperature, 100.0);
  EXPECT_EQ(request->seed, ~uint64_t{0});
  EXPECT_EQ(request->mode, ScoringMode::kUncached);
  EXPECT_EQ(request->priority, -100);
  EXPECT_TRUE(request->bypass_prefix_cache);
  EXPECT_EQ(request->cache_salt, "s");
}

TEST(ConvertClassify, TakesEveryValueOfItsEnums) {
  const std::pair<v1::Normalization, Normalization> normalizations[] = {
      {v1::NORMALIZATION_UNSPECIFIED, Normalization::kMean},
      {v1::NORMALIZATION_MEAN, Normalization::kMean},
      {v1::NORMALIZATION_SUM, Normalization::kSum},
      {v1::NORMALIZATION_CHARS, Normalization::kChars},
      {v1::NORMALIZATION_PMI, Normalization::kPmi}};
  EXPECT_EQ(std::size(normalizations),
            static_cast<size_t>(v1::Normalization_descriptor()->value_count()));
  for (const auto& [sent, taken] : normalizations) {
    EXPECT_EQ(Classify([&](auto* r) { r->set_normalization(sent); })->normalization, taken);
  }
  const std::pair<v1::ScoringMode, ScoringMode> modes[] = {
      {v1::SCORING_MODE_UNSPECIFIED, ScoringMode::kPacked},
      {v1::SCORING_MODE_PACKED, ScoringMode::kPacked},
      {v1::SCORING_MODE_TOKEN_BY_TOKEN, ScoringMode::kTokenByToken},
      {v1::SCORING_MODE_UNCACHED, ScoringMode::kUncached}};
  EXPECT_EQ(std::size(modes), static_cast<size_t>(v1::ScoringMode_descriptor()->value_count()));
  for (const auto& [sent, taken] : modes) {
    EXPECT_EQ(Classify([&](auto* r) { r->set_mode(sent); })->mode, taken);
  }
}

TEST(ConvertClassify, TakesEveryFormOfContext) {
  const auto chat = Classify([](v1::ClassifyRequest* r) {
    v1::ChatMessage* message = r->mutable_chat()->add_messages();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->set_text("cat or dog?");
  });
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(std::get<ChatInput>(std::get<Input>(chat->context)).messages.size(), 1u);
  EXPECT_FALSE(chat->prompt.has_value());
  const auto prompt =
      Classify([](auto* r) { r->mutable_prompt()->add_parts()->set_text("It is a"); });
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(std::get<PromptInput>(std::get<Input>(prompt->context)).parts.size(), 1u);
  const auto tokens = Classify([](auto* r) { r->mutable_tokens()->add_ids(3); });
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(std::get<TokenInput>(std::get<Input>(tokens->context)).ids, ElementsAre(3));
}

TEST(ConvertClassify, TakesTheNameOfASet) {
  const auto request = Classify([](v1::ClassifyRequest* r) {
    r->set_class_set("classSets/pets-2");
    r->set_top_k(7);
    r->set_ensemble(6);
    r->mutable_query()->set_text("whether this has a place is the set's to say");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->class_set, "classSets/pets-2");
  EXPECT_THAT(request->names, IsEmpty());
  EXPECT_FALSE(request->prompt.has_value());
  EXPECT_EQ(request->top_k, 7);
  EXPECT_EQ(request->ensemble, 6);
}

TEST(ConvertClassify, NamesWhatIsWrong) {
  const auto set_names = [](v1::ClassifyRequest* r, std::vector<std::string> names) {
    r->mutable_names()->clear_names();
    for (std::string& name : names) r->mutable_names()->add_names(std::move(name));
  };
  const struct {
    ClassifyChange change;
    const char* reason;
    std::string violation;
  } rows[] = {
      {[](auto* r) { r->set_request_id("a b"); }, kRange,
       "request_id: a request id has 1..128 characters of [A-Za-z0-9._:/-]"},
      {[](auto* r) { r->set_model("../x"); }, kRange,
       "model: a model name has 1..128 characters of [A-Za-z0-9._/-] and no component . or .."},
      {[](auto* r) { r->clear_context(); }, kInvalid,
       "context: one of query, chat, prompt and tokens is required"},
      {[](auto* r) { r->mutable_query()->Clear(); }, kInvalid,
       "query: there is neither an image nor a text"},
      {[](auto* r) { r->mutable_query()->mutable_image()->set_data(std::string(101, 'x')); },
       "INVALID_ARGUMENT IMAGE_TOO_LARGE", "query.image.data: 101 bytes, the limit is 100"},
      {[](auto* r) { r->mutable_query()->mutable_image()->clear_data(); },
       "INVALID_ARGUMENT IMAGE_FORMAT_UNSUPPORTED", "query.image.data: the image has no bytes"},
      {[](auto* r) { r->mutable_query()->set_text(std::string(1001, 'x')); }, kRange,
       "input: 1001 bytes of text, the limit is 1000"},
      {[](auto* r) { r->mutable_tokens()->add_ids(50); }, kRange,
       "tokens.ids[0]: 50 is outside the range [0, 49]"},
      {[](auto* r) { r->clear_classes(); }, kInvalid,
       "classes: one of class_set and names is required"},
      {[](auto* r) { r->set_class_set("pets"); }, kRange,
       "class_set: the name of a class set is classSets/ and 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->set_class_set("classSets/"); }, kRange,
       "class_set: the name of a class set is classSets/ and 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->set_class_set("prefixes/pets"); }, kRange,
       "class_set: the name of a class set is classSets/ and 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->set_class_set(absl::StrCat("classSets/", std::string(64, 'a'))); }, kRange,
       "class_set: the name of a class set is classSets/ and 1..63 characters of [a-z0-9-]"},
      {[&](auto* r) { set_names(r, {}); }, kRange, "names.names: 0 names, at least 2 are needed"},
      {[&](auto* r) { set_names(r, {"one"}); }, kRange,
       "names.names: 1 names, at least 2 are needed"},
      {[&](auto* r) {
         set_names(r, {"a", "b", "c", "d", "e"});
       },
       kRange, "names.names: 5 names, the limit is 4"},
      {[&](auto* r) {
         set_names(r, {"a", ""});
       },
       kInvalid, "names.names[1]: the text is empty"},
      {[&](auto* r) {
         set_names(r, {"a", "ninebytes"});
       },
       kRange, "names.names[1]: 9 bytes, the limit is 8"},
      {[&](auto* r) {
         set_names(r, {std::string("a\0b", 3), "b"});
       },
       kInvalid, "names.names[0]: there is a NUL byte in the text"},
      {[](v1::ClassifyRequest* r) {
         r->mutable_prompt()->add_parts()->set_text("x");
         r->mutable_names()->mutable_prompt();
       },
       kInvalid, "names.prompt: only a query is put into a prompt"},
      {[](v1::ClassifyRequest* r) {
         r->mutable_names()->mutable_prompt()->set_plain(true);
         r->mutable_names()->mutable_prompt()->set_system("x");
       },
       kInvalid, "names.prompt.system: a plain prompt has no system message"},
      {[](v1::ClassifyRequest* r) {
         r->mutable_query()->set_text("x");
         r->mutable_names()->mutable_prompt()->set_question("What?");
       },
       kInvalid, "query.text: the question has no {text} to put it"},
      {[](auto* r) { r->mutable_names()->mutable_prompt()->set_question(std::string(1001, 'x')); },
       kRange, "input: 1001 bytes of text, the limit is 1000"},
      {[](auto* r) { r->set_label_prefix(std::string(257, ' ')); }, kRange,
       "label_prefix: 257 bytes, the limit is 256"},
      {[](auto* r) { r->set_normalization(static_cast<v1::Normalization>(9)); }, kRange,
       "normalization: 9 is not a value"},
      {[](auto* r) { r->set_top_k(0); }, kRange, "top_k: 0 is outside the range [1, 2147483647]"},
      {[](auto* r) { r->set_top_k(-1); }, kRange, "top_k: -1 is outside the range [1, 2147483647]"},
      {[](auto* r) { r->set_temperature(0); }, kRange,
       "temperature: 0 is outside the range (0, 100]"},
      {[](auto* r) { r->set_temperature(100.5); }, kRange,
       "temperature: 100.5 is outside the range (0, 100]"},
      {[](auto* r) { r->set_temperature(std::numeric_limits<double>::quiet_NaN()); }, kRange,
       "temperature: nan is outside the range (0, 100]"},
      {[](auto* r) { r->set_ensemble(0); }, kRange, "ensemble: 0 is outside the range [1, 6]"},
      {[](v1::ClassifyRequest* r) {
         r->set_class_set("classSets/a");
         r->set_ensemble(7);
       },
       kRange, "ensemble: 7 is outside the range [1, 6]"},
      {[](auto* r) { r->set_ensemble(2); }, kInvalid,
       "ensemble: the names of a request have no demonstrations to put into other orders"},
      {[](v1::ClassifyRequest* r) {
         r->set_class_set("classSets/a");
         r->mutable_tokens()->add_ids(1);
         r->set_ensemble(2);
       },
       kInvalid, "ensemble: only a query stands behind the demonstrations of a set"},
      {[](auto* r) { r->set_mode(static_cast<v1::ScoringMode>(-1)); }, kRange,
       "mode: -1 is not a value"},
      {[](auto* r) { r->set_priority(101); }, kRange,
       "priority: 101 is outside the range [-100, 100]"},
      {[](auto* r) { r->set_cache_salt(std::string(129, 's')); }, kRange,
       "cache_salt: 129 bytes, the limit is 128"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(ProblemsOf(Classify(row.change).status()), ElementsAre(row.reason, row.violation));
  }
}

TEST(ConvertClassify, NamesAllThatIsWrong) {
  const auto problems = ProblemsOf(Classify([](v1::ClassifyRequest* r) {
                                     r->set_request_id("a b");
                                     r->set_temperature(-1);
                                     r->clear_context();
                                     r->clear_classes();
                                   }).status());
  EXPECT_EQ(problems.size(), 5u) << absl::StrJoin(problems, "\n");
}

TEST(ConvertClassify, AsksTheModelWhatItCan) {
  EXPECT_THAT(ProblemsOf(Classify([](auto* r) { r->set_model("other"); }).status()),
              ElementsAre("NOT_FOUND MODEL_NOT_FOUND"));
  EngineModelInfo text = FakeModel();
  text.supports_images = false;
  EXPECT_THAT(ProblemsOf(Classify([](auto*) {}, text).status()),
              ElementsAre("FAILED_PRECONDITION FEATURE_UNSUPPORTED"));
  EngineModelInfo plain = FakeModel();
  plain.chat_template.clear();
  EXPECT_TRUE(Classify([](auto*) {}, plain).ok());
  EXPECT_THAT(
      ProblemsOf(
          Classify([](auto* r) { r->mutable_names()->mutable_prompt()->set_system("x"); }, plain)
              .status()),
      ElementsAre("FAILED_PRECONDITION FEATURE_UNSUPPORTED"));
}

TEST(ConvertClassify, LooksAtAMillionNamesOnlyToCountThem) {
  const auto problems = ProblemsOf(Classify([](v1::ClassifyRequest* r) {
                                     for (int i = 0; i < 1'000'000; ++i) {
                                       r->mutable_names()->add_names("");
                                     }
                                   }).status());
  EXPECT_THAT(problems, ElementsAre(kRange, "names.names: 1000002 names, the limit is 4"));
}

// --- Score ------------------------------------------------------------------------------------

using ScoreChange = std::function<void(v1::ScoreRequest*)>;

absl::StatusOr<ScoreRequest> Score(const ScoreChange& change) {
  v1::ScoreRequest request;
  request.mutable_prompt()->add_parts()->set_text("two and two is");
  request.add_continuations()->set_text(" four");
  change(&request);
  return ConvertScoreRequest(std::move(request), FakeModel(), Limits());
}

TEST(ConvertScore, HasTheDefaultsOfTheProto) {
  const auto request = Score([](auto*) {});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(std::get<PromptInput>(request->input).parts.size(), 1u);
  EXPECT_EQ(request->prefix, "");
  ASSERT_EQ(request->continuations.size(), 1u);
  EXPECT_EQ(std::get<std::string>(request->continuations[0]), " four");
  EXPECT_FALSE(request->echo);
  EXPECT_EQ(request->mode, ScoringMode::kPacked);
  EXPECT_FALSE(request->bypass_prefix_cache);
}

TEST(ConvertScore, TakesEveryField) {
  const auto request = Score([](v1::ScoreRequest* r) {
    r->set_prefix("prefixes/p");
    v1::TokenIds* ids = r->add_continuations()->mutable_tokens();
    ids->add_ids(0);
    ids->add_ids(49);
    r->set_echo(true);
    r->set_mode(v1::SCORING_MODE_TOKEN_BY_TOKEN);
    r->set_priority(5);
    r->set_bypass_prefix_cache(true);
    r->set_cache_salt("s");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->prefix, "prefixes/p");
  EXPECT_THAT(std::get<std::vector<int32_t>>(request->continuations.at(1)), ElementsAre(0, 49));
  EXPECT_TRUE(request->echo);
  EXPECT_EQ(request->mode, ScoringMode::kTokenByToken);
  EXPECT_EQ(request->priority, 5);
  EXPECT_TRUE(request->bypass_prefix_cache);
  EXPECT_EQ(request->cache_salt, "s");
  // The prompt alone.
  const auto echo = Score([](v1::ScoreRequest* r) {
    r->clear_continuations();
    r->set_echo(true);
  });
  ASSERT_TRUE(echo.ok()) << echo.status();
  EXPECT_THAT(echo->continuations, IsEmpty());
}

TEST(ConvertScore, NamesWhatIsWrong) {
  const struct {
    ScoreChange change;
    const char* reason;
    std::string violation;
  } rows[] = {
      {[](auto* r) { r->clear_input(); }, kInvalid,
       "input: one of chat, prompt and tokens is required"},
      {[](auto* r) { r->set_request_id("a b"); }, kRange,
       "request_id: a request id has 1..128 characters of [A-Za-z0-9._:/-]"},
      {[](auto* r) { r->set_prefix("p"); }, kRange,
       "prefix: the name of a prefix is prefixes/ and 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->clear_continuations(); }, kInvalid,
       "continuations: there is nothing to score: no continuation and no echo"},
      {[](auto* r) { r->add_continuations(); }, kInvalid,
       "continuations[1]: neither text nor tokens is set"},
      {[](auto* r) { r->add_continuations()->set_text(""); }, kInvalid,
       "continuations[1].text: the text is empty"},
      {[](auto* r) { r->add_continuations()->set_text(std::string(65537, 'x')); }, kRange,
       "continuations[1].text: 65537 bytes, the limit is 65536"},
      {[](auto* r) { r->add_continuations()->mutable_tokens(); }, kInvalid,
       "continuations[1].tokens.ids: at least one token id is required"},
      {[](auto* r) { r->add_continuations()->mutable_tokens()->add_ids(-1); }, kRange,
       "continuations[1].tokens.ids[0]: -1 is outside the range [0, 49]"},
      {[](auto* r) { r->add_continuations()->mutable_tokens()->add_ids(50); }, kRange,
       "continuations[1].tokens.ids[0]: 50 is outside the range [0, 49]"},
      {[](v1::ScoreRequest* r) {
         for (int i = 0; i < 7; ++i) r->mutable_continuations(0)->mutable_tokens()->add_ids(1);
       },
       kRange, "continuations: 7 token ids, the limit is 6"},
      {[](v1::ScoreRequest* r) {
         for (int i = 0; i < 4; ++i) r->add_continuations()->set_text("x");
       },
       kRange, "continuations: 5 continuations, the limit is 4"},
      {[](auto* r) { r->set_mode(static_cast<v1::ScoringMode>(4)); }, kRange,
       "mode: 4 is not a value"},
      {[](auto* r) { r->set_priority(-101); }, kRange,
       "priority: -101 is outside the range [-100, 100]"},
      {[](auto* r) { r->set_cache_salt(std::string(129, 's')); }, kRange,
       "cache_salt: 129 bytes, the limit is 128"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(ProblemsOf(Score(row.change).status()), ElementsAre(row.reason, row.violation));
  }
  EXPECT_THAT(ProblemsOf(Score([](auto* r) { r->set_model("other"); }).status()),
              ElementsAre("NOT_FOUND MODEL_NOT_FOUND"));
}

// --- CreateClassSet ---------------------------------------------------------------------------

using SetChange = std::function<void(v1::CreateClassSetRequest*)>;

absl::StatusOr<ClassSetSpec> Create(const SetChange& change,
                                    const EngineModelInfo& model = FakeModel()) {
  v1::CreateClassSetRequest request;
  request.set_class_set_id("pets");
  request.add_names("cat");
  request.add_names("dog");
  change(&request);
  return ConvertCreateClassSetRequest(std::move(request), model, Limits());
}

v1::Demonstration* AddPicture(v1::CreateClassSetRequest* request, const std::string& label) {
  v1::Demonstration* demonstration = request->add_demonstrations();
  demonstration->mutable_image()->set_data("\x89PNG");
  demonstration->set_label(label);
  return demonstration;
}

TEST(ConvertClassSet, HasTheDefaultsOfTheProto) {
  const auto spec = Create([](auto*) {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->id, "pets");
  EXPECT_THAT(spec->names, ElementsAre("cat", "dog"));
  EXPECT_EQ(spec->label_prefix, "");
  EXPECT_EQ(spec->prompt.question, "{text}");
  EXPECT_EQ(spec->prompt.separator, "\n");
  EXPECT_THAT(spec->demonstrations, IsEmpty());
  EXPECT_EQ(spec->num_shots, 0);
  EXPECT_EQ(spec->null_text, "");
}

TEST(ConvertClassSet, TakesEveryField) {
  const auto spec = Create([](v1::CreateClassSetRequest* r) {
    r->set_model("fake");
    r->set_label_prefix(" ");
    r->mutable_prompt()->set_question("Is it {text}?");
    r->mutable_prompt()->set_plain(true);
    r->mutable_prompt()->set_separator("<|endofchunk|>");
    AddPicture(r, "cat")->set_text("furry");
    AddPicture(r, "dog");
    AddPicture(r, "emu");
    r->set_num_shots(2);
    r->set_null_text("N/A");
  });
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->label_prefix, " ");
  EXPECT_EQ(spec->prompt.question, "Is it {text}?");
  EXPECT_TRUE(spec->prompt.plain);
  EXPECT_EQ(spec->prompt.separator, "<|endofchunk|>");
  ASSERT_EQ(spec->demonstrations.size(), 3u);
  EXPECT_EQ(spec->demonstrations[0].image->bytes, "\x89PNG");
  EXPECT_EQ(spec->demonstrations[0].text, "furry");
  EXPECT_EQ(spec->demonstrations[0].label, "cat");
  EXPECT_EQ(spec->num_shots, 2);
  EXPECT_EQ(spec->null_text, "N/A");
}

TEST(ConvertClassSet, NamesWhatIsWrong) {
  const struct {
    SetChange change;
    const char* reason;
    std::string violation;
  } rows[] = {
      {[](auto* r) { r->clear_class_set_id(); }, kRange,
       "class_set_id: the id of a class set has 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->set_class_set_id("classSets/pets"); }, kRange,
       "class_set_id: the id of a class set has 1..63 characters of [a-z0-9-]"},
      {[](auto* r) { r->clear_names(); }, kRange, "names: 0 names, at least 2 are needed"},
      {[](auto* r) { r->set_names(1, ""); }, kInvalid, "names[1]: the text is empty"},
      {[](auto* r) { r->set_names(1, "ninebytes"); }, kRange, "names[1]: 9 bytes, the limit is 8"},
      {[](auto* r) { r->set_label_prefix(std::string(257, ' ')); }, kRange,
       "label_prefix: 257 bytes, the limit is 256"},
      {[](v1::CreateClassSetRequest* r) {
         r->mutable_prompt()->set_plain(true);
         r->mutable_prompt()->set_system("x");
       },
       kInvalid, "prompt.system: a plain prompt has no system message"},
      {[](auto* r) { AddPicture(r, ""); }, kInvalid, "demonstrations[0].label: the text is empty"},
      {[](auto* r) { AddPicture(r, "ninebytes"); }, kRange,
       "demonstrations[0].label: 9 bytes, the limit is 8"},
      {[](v1::CreateClassSetRequest* r) {
         r->mutable_prompt()->set_question("What?");
         AddPicture(r, "cat")->set_text("x");
       },
       kInvalid, "demonstrations[0].text: the question has no {text} to put it"},
      {[](auto* r) { AddPicture(r, "cat")->mutable_image()->set_data("http://a/b"); }, kInvalid,
       "demonstrations[0].image.data: an address is not fetched; send the image's bytes"},
      {[](v1::CreateClassSetRequest* r) {
         for (int i = 0; i < 4; ++i) r->add_demonstrations()->set_label("cat");
       },
       kRange, "demonstrations: 4 demonstrations, the limit is 3"},
      {[](v1::CreateClassSetRequest* r) {
         for (int i = 0; i < 3; ++i) {
           AddPicture(r, "cat")->mutable_image()->set_data(std::string(70, 'x'));
         }
         r->set_num_shots(1);
       },
       kRange, "demonstrations: 225 bytes of names and demonstrations, the limit is 200"},
      {[](auto* r) { r->set_num_shots(1); }, kRange, "num_shots: 1 is outside the range [0, 0]"},
      {[](auto* r) { r->set_num_shots(-1); }, kRange, "num_shots: -1 is outside the range [0, 0]"},
      {[](v1::CreateClassSetRequest* r) {
         AddPicture(r, "cat");
         r->add_demonstrations()->set_label("dog");
         r->set_num_shots(1);
       },
       kInvalid,
       "demonstrations[1].image: shots are chosen by their pictures; each demonstration needs one"},
      // The model takes two pictures, and all three demonstrations stand before a query.
      {[](v1::CreateClassSetRequest* r) {
         for (int i = 0; i < 3; ++i) AddPicture(r, "cat");
       },
       kRange, "input: 3 images, the limit is 2"},
      {[](auto* r) { r->set_null_text(std::string(1001, 'x')); }, kRange,
       "input: 1001 bytes of text, the limit is 1000"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(ProblemsOf(Create(row.change).status()), ElementsAre(row.reason, row.violation));
  }
}

TEST(ConvertClassSet, WantsTheBytesOfPictures) {
  const auto spec = Create([](v1::CreateClassSetRequest* r) {
    r->add_demonstrations()->set_label("none");
    AddPicture(r, "cat");
    v1::Image* image = AddPicture(r, "dog")->mutable_image();
    image->clear_data();
    image->set_image_sha256(std::string(32, '\xab'));
  });
  EXPECT_THAT(ProblemsOf(spec.status()), ElementsAre("NOT_FOUND IMAGE_NOT_CACHED"));
  const ErrorDetail detail = *GetErrorDetail(spec.status());
  std::string sha256;
  for (int i = 0; i < 32; ++i) sha256 += "ab";
  EXPECT_THAT(detail.metadata, ElementsAre(std::pair<std::string, std::string>("image_index", "1"),
                                           std::pair<std::string, std::string>("sha256", sha256)));
}

TEST(ConvertClassSet, AsksTheModelWhatItCan) {
  EXPECT_THAT(ProblemsOf(Create([](auto* r) { r->set_model("other"); }).status()),
              ElementsAre("NOT_FOUND MODEL_NOT_FOUND"));
  EngineModelInfo text = FakeModel();
  text.supports_images = false;
  EXPECT_THAT(ProblemsOf(Create([](auto* r) { AddPicture(r, "cat"); }, text).status()),
              ElementsAre("FAILED_PRECONDITION FEATURE_UNSUPPORTED"));
  EXPECT_TRUE(Create([](auto*) {}, text).ok());
}

TEST(ConvertClassSet, ChecksNames) {
  EXPECT_TRUE(CheckClassSetRequestName("classSets/a-1").ok());
  for (const char* name : {"", "a", "classSets/", "classSets/A", "classSets/a/b", "classsets/a"}) {
    EXPECT_THAT(ProblemsOf(CheckClassSetRequestName(name)),
                ElementsAre(kRange, HasSubstr("name: the name of a class set is")))
        << name;
  }
}

}  // namespace
}  // namespace prefixd::testing
