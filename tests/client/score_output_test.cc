#include "client/prefixctl/score_output.h"

#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "client/prefixctl/display_text.h"

namespace prefixd::ctl {
namespace {

void AddToken(google::protobuf::RepeatedPtrField<v1::ScoredToken>* tokens, int id,
              const std::string& bytes, std::optional<float> log_prob) {
  v1::ScoredToken* const token = tokens->Add();
  token->set_token_id(id);
  token->set_token(bytes);
  if (log_prob) token->set_log_prob(*log_prob);
}

v1::ScoreResponse Scores() {
  v1::ScoreResponse response;
  response.set_request_id("req-1");
  response.set_model("demo");
  v1::ScoredContinuation* const cat = response.add_continuations();
  cat->set_log_prob(-0.75);
  AddToken(cat->mutable_tokens(), 5, " c", -0.5f);
  AddToken(cat->mutable_tokens(), 6, "at\n", -0.25f);
  v1::ScoredContinuation* const dog = response.add_continuations();
  dog->set_log_prob(-12);
  AddToken(dog->mutable_tokens(), 7, " dog", -12.0f);
  return response;
}

TEST(ScoreTable, HasSumsAndTokens) {
  EXPECT_EQ(ScoreTable({" cat\n", " dog"}, Scores(), {}),
            "  LOG PROB        MEAN  TOKENS  CONTINUATION\n"
            "   -0.7500     -0.3750       2  \" cat\\n\"\n"
            "  \" c\" -0.5000  \"at\\n\" -0.2500\n"
            "  -12.0000    -12.0000       1  \" dog\"\n"
            "  \" dog\" -12.0000\n");
}

TEST(ScoreTable, HasThePromptWithManyRowsOfAnImageAsOne) {
  v1::ScoreResponse response;
  AddToken(response.mutable_prompt(), 1, "<s>", std::nullopt);
  for (int i = 0; i < 576; ++i) AddToken(response.mutable_prompt(), 9, "<image>", std::nullopt);
  AddToken(response.mutable_prompt(), 3, "What", -2.0f);
  EXPECT_EQ(ScoreTable({}, response, {}),
            "PROMPT\n  \"<s>\" -  \"<image>\" - x576  \"What\" -2.0000\n");
}

TEST(ScoreTable, BreaksLinesWhereTheTerminalEnds) {
  v1::ScoreResponse response = Scores();
  for (int i = 0; i < 30; ++i) {
    AddToken(response.mutable_continuations(1)->mutable_tokens(), i, "word", -1.0f);
  }
  for (int columns = 40; columns <= 100; columns += 3) {
    const std::string table =
        ScoreTable({std::string(500, 'x'), " dog"}, response, {.columns = columns, .utf8 = true});
    for (const absl::string_view row : absl::StrSplit(table, '\n')) {
      EXPECT_LE(Columns(row), std::max(columns, 46)) << row;
    }
  }
  EXPECT_EQ(ScoreTable({"a", "b"}, Scores(), {.columns = 20, .utf8 = true}),
            "  LOG PROB        MEAN  TOKENS  CONTINUATION\n"
            "   -0.7500     -0.3750       2  …\n"
            "  \" c\" -0.5000\n"
            "  \"at\\n\" -0.2500\n"
            "  -12.0000    -12.0000       1  …\n"
            "  \" dog\" -12.0000\n");
}

TEST(ScoreTable, ShowsNoControlCharacters) {
  v1::ScoreResponse response;
  AddToken(response.add_continuations()->mutable_tokens(), 1, "\x1b[2J\xE7", -1.0f);
  EXPECT_EQ(ScoreTable({"\x1b[2J"}, response, {.utf8 = true}),
            "  LOG PROB        MEAN  TOKENS  CONTINUATION\n"
            "    0.0000      0.0000       1  \"\\x1b[2J\"\n"
            "  \"\\x1b[2J\\xe7\" -1.0000\n");
}

TEST(ScoreLine, HasEverything) {
  v1::ScoreResponse response = Scores();
  response.mutable_continuations()->DeleteSubrange(1, 1);
  AddToken(response.mutable_prompt(), 1, "", std::nullopt);
  response.mutable_usage()->set_prompt_tokens(20);
  response.mutable_cache()->set_miss(v1::CACHE_MISS_REASON_NONE);
  EXPECT_EQ(
      ScoreLine({" cat\n"}, response),
      R"({"event":"scores","request_id":"req-1","model":"demo","continuations":[{"text":" cat\n",)"
      R"("log_prob":-0.75,"tokens":[{"token":" c","token_id":5,"bytes":[32,99],"logprob":-0.5},)"
      R"({"token":"at\n","token_id":6,"bytes":[97,116,10],"logprob":-0.25}]}],)"
      R"("prompt":[{"token":"","token_id":1,"bytes":[],"logprob":null}],)"
      R"("usage":{"prompt_tokens":20,"cached_prompt_tokens":0,"image_tokens":0,)"
      R"("completion_tokens":0},"cache":{"hit_tokens":0,"computed_tokens":0,"evicted_tokens":0,)"
      R"("images":0,"images_in_prefix":0,"feature_hits":0,"images_encoded":0,"decode_hits":0,)"
      R"("kv_bytes":0,"shared_kv_bytes":0,"miss":"none","preemptions":0},)"
      R"("scoring":{"candidates":0,"computed_rows":0,"saved_rows":0,"pruned_nodes":0,"passes":0,)"
      R"("context_hits":0,"contexts":0},"timings_ms":{"queue":0.0,"prefill":0.0,"total":0.0}})");
}

TEST(ScoreSummary, SaysWhatItTook) {
  v1::ScoreResponse response;
  response.mutable_usage()->set_prompt_tokens(594);
  response.mutable_usage()->set_cached_prompt_tokens(592);
  response.mutable_scoring()->set_computed_rows(12);
  response.mutable_scoring()->set_saved_rows(3);
  response.mutable_timings()->mutable_total()->set_nanos(38'200'000);
  EXPECT_EQ(ScoreSummary(response),
            "context 594 tokens, 592 cached; 12 rows computed, 3 saved; 38.2 ms");
}

}  // namespace
}  // namespace prefixd::ctl
