#include "client/prefixctl/ranking_output.h"

#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "client/prefixctl/display_text.h"

namespace prefixd::ctl {
namespace {

void AddScore(v1::ClassifyResponse* response, const std::string& name, double probability,
              double score) {
  v1::ClassScore* const added = response->add_top();
  added->set_index(10 + response->top_size());
  added->set_name(name);
  added->set_score(score);
  added->set_log_prob(2 * score);
  added->set_num_tokens(2);
  if (probability >= 0) added->set_probability(probability);
}

v1::ClassifyResponse Animals() {
  v1::ClassifyResponse response;
  response.set_request_id("req-1");
  response.set_model("demo");
  AddScore(&response, "cat", 0.5, -0.5);
  AddScore(&response, "dog", 0.25, -1.25);
  AddScore(&response, "sea cow", 0.015625, -10);
  return response;
}

v1::ClassifyResponse WithoutProbabilities() {
  v1::ClassifyResponse response;
  AddScore(&response, "cat", -1, -0.5);
  AddScore(&response, "dog", -1, -1.25);
  return response;
}

TEST(RankingTable, HasBarsRelativeToTheBest) {
  EXPECT_EQ(RankingTable(Animals(), {.columns = 80, .utf8 = true}),
            "RANK  NAME     PROBABILITY                               SCORE\n"
            "1     cat          50.00 %  ████████████████████████   -0.5000\n"
            "2     dog          25.00 %  ████████████               -1.2500\n"
            "3     sea cow       1.56 %  ▊                         -10.0000\n");
  EXPECT_EQ(RankingTable(Animals(), {.columns = 80}),
            "RANK  NAME     PROBABILITY                               SCORE\n"
            "1     cat          50.00 %  ########################   -0.5000\n"
            "2     dog          25.00 %  ############               -1.2500\n"
            "3     sea cow       1.56 %  #                         -10.0000\n");
}

TEST(RankingTable, IsTheSameInAPipe) {
  EXPECT_EQ(RankingTable(Animals(), {.columns = 0, .utf8 = true}),
            RankingTable(Animals(), {.columns = 200, .utf8 = true}));
}

TEST(RankingTable, GivesUpTheBarAndThenNamesOnNarrowTerminals) {
  EXPECT_EQ(RankingTable(Animals(), {.columns = 44, .utf8 = true}),
            "RANK  NAME     PROBABILITY             SCORE\n"
            "1     cat          50.00 %  ██████   -0.5000\n"
            "2     dog          25.00 %  ███      -1.2500\n"
            "3     sea cow       1.56 %  ▎       -10.0000\n");
  EXPECT_EQ(RankingTable(Animals(), {.columns = 43, .utf8 = true}),
            "RANK  NAME     PROBABILITY     SCORE\n"
            "1     cat          50.00 %   -0.5000\n"
            "2     dog          25.00 %   -1.2500\n"
            "3     sea cow       1.56 %  -10.0000\n");
  EXPECT_EQ(RankingTable(Animals(), {.columns = 33, .utf8 = true}),
            "RANK  NAME  PROBABILITY     SCORE\n"
            "1     cat       50.00 %   -0.5000\n"
            "2     dog       25.00 %   -1.2500\n"
            "3     sea…       1.56 %  -10.0000\n");
}

TEST(RankingTable, NeverIsWiderThanTheTerminal) {
  v1::ClassifyResponse response = Animals();
  AddScore(&response, "猫の写真がここに長く続いている猫の写真がここに長く続いている猫", 0.01, -20);
  AddScore(&response, std::string(1000, 'x'), 0.001, -30);
  for (const bool utf8 : {false, true}) {
    for (int columns = 20; columns <= 120; ++columns) {
      const std::string table = RankingTable(response, {.columns = columns, .utf8 = utf8});
      for (const absl::string_view row : absl::StrSplit(table, '\n')) {
        EXPECT_LE(Columns(row), columns) << row;
      }
    }
  }
}

TEST(RankingTable, HasNeitherProbabilitiesNorBarsWhereThereAreNone) {
  EXPECT_EQ(RankingTable(WithoutProbabilities(), {.columns = 80, .utf8 = true}),
            "RANK  NAME    SCORE\n"
            "1     cat   -0.5000\n"
            "2     dog   -1.2500\n");
}

TEST(RankingTable, ShowsNoControlCharacters) {
  v1::ClassifyResponse response;
  AddScore(&response, "\x1b[2Jcat\n", 0.5, -0.5);
  AddScore(&response,
           "\xC2\x9B"
           "2Jdog",
           0.25, -1);
  for (const Layout layout : {Layout{.columns = 80, .utf8 = true}, Layout{}}) {
    for (const std::string& text :
         {RankingTable(response, layout), RankingLine("a\x1b.jpg", response, 0, layout)}) {
      EXPECT_FALSE(absl::StrContains(text, "\x1b")) << text;
      EXPECT_FALSE(absl::StrContains(text, "\xC2\x9B")) << text;
      EXPECT_TRUE(absl::StrContains(text, layout.utf8 ? "\uFFFD[2Jcat\uFFFD" : "?[2Jcat?"));
    }
  }
}

TEST(RankingTable, ColoursOnlyWhereAsked) {
  const std::string plain = RankingTable(Animals(), {.columns = 80, .utf8 = true});
  EXPECT_FALSE(absl::StrContains(plain, "\033"));
  const std::string colored = RankingTable(Animals(), {.columns = 80, .color = true});
  EXPECT_TRUE(absl::StrContains(colored, "\033[0;1mcat\033[0m")) << colored;
  EXPECT_TRUE(absl::StrContains(colored, "\033[0;32m####")) << colored;
}

TEST(RankingTable, SurvivesNumbersThatAreNone) {
  v1::ClassifyResponse response;
  AddScore(&response, "a", std::numeric_limits<double>::quiet_NaN(),
           -std::numeric_limits<double>::infinity());
  AddScore(&response, "b", 7e300, 0);
  EXPECT_TRUE(absl::StrContains(RankingTable(response, {.columns = 80}), "-inf"));
  EXPECT_EQ(RankingTable({}, {.columns = 80}), "RANK  NAME  SCORE\n");
}

TEST(RankingLine, HasRunnerUpsAsFarAsThereIsRoom) {
  EXPECT_EQ(RankingLine("a.jpg", Animals(), 0, {}),
            "a.jpg  cat 50.00 %  dog 25.00 %  sea cow 1.56 %");
  EXPECT_EQ(RankingLine("a.jpg", Animals(), 8, {.columns = 50, .utf8 = true}),
            "a.jpg     cat 50.00 %  dog 25.00 %  sea cow 1.56 %");
  EXPECT_EQ(RankingLine("a.jpg", Animals(), 8, {.columns = 49, .utf8 = true}),
            "a.jpg     cat 50.00 %  dog 25.00 %");
  EXPECT_EQ(RankingLine("photos/of/a.jpg", Animals(), 0, {.columns = 20, .utf8 = true}),
            "…a.jpg  cat 50.00 %");
  EXPECT_EQ(RankingLine("a.jpg", WithoutProbabilities(), 0, {}), "a.jpg  cat -0.5000  dog -1.2500");
  EXPECT_EQ(RankingLine("a.jpg", {}, 0, {}), "a.jpg");
}

TEST(RankingJsonLine, HasEverything) {
  v1::ClassifyResponse response = Animals();
  response.mutable_top()->DeleteSubrange(1, 2);
  response.add_scores(-0.5);
  response.add_scores(-2);
  response.add_probabilities(0.75);
  response.add_probabilities(0.25);
  response.add_shots("cow");
  response.mutable_usage()->set_prompt_tokens(20);
  response.mutable_scoring()->set_candidates(2);
  response.mutable_scoring()->set_computed_rows(7);
  response.mutable_scoring()->set_contexts(1);
  response.mutable_cache()->set_miss(v1::CACHE_MISS_REASON_EVICTED);
  response.mutable_timings()->mutable_total()->set_nanos(12'500'000);
  EXPECT_EQ(
      RankingJsonLine("a.jpg", response),
      R"({"event":"ranking","file":"a.jpg","request_id":"req-1","model":"demo",)"
      R"("top":[{"rank":1,"index":11,"name":"cat","probability":0.5,"score":-0.5,"log_prob":-1.0,)"
      R"("num_tokens":2}],"scores":[-0.5,-2.0],"probabilities":[0.75,0.25],"shots":["cow"],)"
      R"("usage":{"prompt_tokens":20,"cached_prompt_tokens":0,"image_tokens":0,)"
      R"("completion_tokens":0},"cache":{"hit_tokens":0,"computed_tokens":0,"evicted_tokens":0,)"
      R"("images":0,"images_in_prefix":0,"feature_hits":0,"images_encoded":0,"decode_hits":0,)"
      R"("kv_bytes":0,"shared_kv_bytes":0,"miss":"evicted","preemptions":0},)"
      R"("scoring":{"candidates":2,"computed_rows":7,"saved_rows":0,"pruned_nodes":0,"passes":0,)"
      R"("context_hits":0,"contexts":1},"timings_ms":{"queue":0.0,"prefill":0.0,"total":12.5}})");
}

TEST(RankingJsonLine, LeavesOutWhatIsNotThereAndEscapesControlCharacters) {
  v1::ClassifyResponse response = WithoutProbabilities();
  response.mutable_top(0)->set_name("\x1b\xC2\x9B\x7f\xFF\xC3\xA4");
  const std::string line = RankingJsonLine("", response);
  EXPECT_TRUE(absl::StrContains(line, R"("name":"\u001b\u009b\u007f)"
                                      "\uFFFDä\""))
      << line;
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["top"][0]["name"], "\x1b\xC2\x9B\x7f\uFFFDä");
  EXPECT_FALSE(json.contains("file"));
  EXPECT_FALSE(json.contains("scores"));
  EXPECT_FALSE(json["top"][0].contains("probability"));
}

TEST(FileErrorJsonLine, NamesTheFile) {
  EXPECT_EQ(
      FileErrorJsonLine(
          "a.jpg", MakeError(absl::StatusCode::kInvalidArgument, "IMAGE_CORRUPT", "it is cut off")),
      R"({"event":"error","code":"INVALID_ARGUMENT","reason":"IMAGE_CORRUPT",)"
      R"("message":"it is cut off","metadata":{},"retry_after_ms":null,"request_id":"","file":"a.jpg"})");
}

TEST(RankingCsv, QuotesAsRfc4180) {
  v1::ClassifyResponse response;
  AddScore(&response, "a \"big\" cat, or two", 1.0 / 3, -0.1);
  AddScore(&response, "a\nb", 1e-9, -12);
  AddScore(&response, " dog", 0.125, -1.5);
  EXPECT_EQ(RankingCsv("x,y.jpg", response, false),
            "\"x,y.jpg\",1,\"a \"\"big\"\" cat, or two\",0.3333333333333333,-0.1\n"
            "\"x,y.jpg\",2,\"a\nb\",1e-09,-12.0\n"
            "\"x,y.jpg\",3, dog,0.125,-1.5\n");
  EXPECT_EQ(RankingCsv("", WithoutProbabilities(), false), ",1,cat,,-0.5\n,2,dog,,-1.25\n");
  EXPECT_TRUE(absl::StrContains(RankingCsv("x", response, true), ",a\uFFFDb,"));
}

TEST(RankingTotals, SayWhatItTook) {
  v1::ClassifyResponse response;
  response.mutable_usage()->set_prompt_tokens(594);
  response.mutable_usage()->set_cached_prompt_tokens(592);
  response.mutable_scoring()->set_candidates(128);
  response.mutable_scoring()->set_contexts(1);
  response.mutable_scoring()->set_computed_rows(143);
  response.mutable_scoring()->set_saved_rows(210);
  RankingTotals totals;
  totals.Add(response);
  EXPECT_EQ(totals.Summary(38.24),
            "128 names; context 594 tokens, 592 cached; 143 rows computed, 210 saved; 38.2 ms");
  response.mutable_scoring()->set_pruned_nodes(3);
  totals.Add(response);
  EXPECT_EQ(totals.Summary(5),
            "256 names; 2 contexts of 1188 tokens, 1184 cached; 286 rows computed, 420 saved, 3 "
            "pruned; 5.0 ms");
}

}  // namespace
}  // namespace prefixd::ctl
