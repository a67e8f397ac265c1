#include "client/prefixctl/json_events.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace prefixd::ctl {
namespace {

TEST(JsonEvents, EndsWithTheWholeAnswer) {
  v1::GenerateResponse last;
  v1::Finished* const finished = last.mutable_finished();
  finished->mutable_usage()->set_prompt_tokens(171);
  finished->mutable_usage()->set_image_tokens(144);
  finished->mutable_usage()->set_completion_tokens(3);
  finished->mutable_timings()->mutable_queue()->set_nanos(500'000);
  finished->mutable_timings()->mutable_prefill()->set_nanos(80'000'000);
  finished->mutable_timings()->mutable_first_token()->set_nanos(81'000'000);
  finished->mutable_timings()->mutable_total()->set_seconds(1);
  Answer answer;
  answer.text = "a \"cat\"\n";
  answer.finish_reason = v1::FINISH_REASON_EOS;
  answer.Add(last);
  EXPECT_EQ(EventLine(last, answer),
            R"({"event":"finished","text":"a \"cat\"\n","finish_reason":"eos",)"
            R"("usage":{"prompt_tokens":171,"cached_prompt_tokens":0,"image_tokens":144,)"
            R"("completion_tokens":3},"timings_ms":{"queue":0.5,"prefill":80.0,)"
            R"("first_token":81.0,"total":1000.0}})");
}

TEST(JsonEvents, CarriesTheReceiptOfRetention) {
  v1::GenerateResponse last;
  v1::RetentionReceipt* const retention =
      last.mutable_finished()->mutable_receipt()->mutable_retention();
  retention->set_scope(v1::RETENTION_SCOPE_EXACT);
  retention->set_policy("prefixkv");
  retention->set_budget(0.25);
  retention->set_selected_from(640);
  retention->add_kept_tokens(449);
  retention->add_kept_tokens(6);
  retention->set_score_mass(0.5);
  retention->set_decode_drops(7);
  retention->set_saved_kv_bytes(8);
  Answer answer;
  answer.Add(last);
  const std::string line = EventLine(last, answer);
  const std::string part =
      R"("retention":{"scope":"exact","policy":"prefixkv","profile":"","budget":0.25,)"
      R"("selected_from":640,"kept_tokens":[449,6],"score_mass":0.5,"snapshot_hit":false,)"
      R"("decode_drops":7,"saved_kv_bytes":8})";
  EXPECT_NE(line.find(part), std::string::npos) << line;
}

TEST(JsonEvents, TellsThePoliciesOfAModel) {
  v1::Model model;
  model.add_retention_policies("prefixkv");
  model.add_retention_policies("h2o");
  model.mutable_retention_defaults()->set_scope(v1::RETENTION_SCOPE_OFF);
  model.mutable_retention_defaults()->set_budget(0.5);
  model.mutable_retention_defaults()->set_policy("prefixkv");
  model.mutable_retention_defaults()->set_distance(-25);
  const std::string line = ModelLine(model);
  const std::string part =
      R"("retention_policies":["prefixkv","h2o"],"retention_profiles":[],"retention_defaults":)"
      R"({"scope":"off","budget":0.5,"policy":"prefixkv","profile":"","start_size":0,)"
      R"("protect":0,"distance":-25}})";
  EXPECT_NE(line.find(part), std::string::npos) << line;
}

TEST(JsonEvents, CarriesLogProbabilitiesAsBytesToo) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_text("é");
  v1::TokenLogprobs* const token = event.mutable_delta()->add_logprobs();
  token->mutable_sampled()->set_token("\xC3");
  token->mutable_sampled()->set_token_id(5);
  token->mutable_sampled()->set_logprob(-0.5f);
  token->mutable_sampled()->set_rank(1);
  EXPECT_EQ(EventLine(event, Answer()),
            R"({"event":"delta","index":0,"text":"é","logprobs":[{"token":")"
            "\xEF\xBF\xBD"
            R"(","token_id":5,"bytes":[195],"logprob":-0.5,"rank":1,"top":[]}]})");
}

TEST(JsonEvents, SaysWhatStoppedAChoice) {
  v1::GenerateResponse event;
  event.mutable_choice_finished()->set_reason(v1::FINISH_REASON_STOP_STRING);
  event.mutable_choice_finished()->set_stop_string("END");
  EXPECT_EQ(EventLine(event, Answer()),
            R"({"event":"choice_finished","index":0,"finish_reason":"stop_string",)"
            R"("stop_string":"END"})");
}

TEST(JsonEvents, HasEveryKeyInAnError) {
  EXPECT_EQ(ErrorLine(absl::UnavailableError("gone")),
            R"({"event":"error","code":"UNAVAILABLE","reason":"","message":"gone","metadata":{},)"
            R"("retry_after_ms":null,"request_id":""})");
  EXPECT_EQ(
      ErrorLine(MakeError(absl::StatusCode::kResourceExhausted, "full",
                          {.reason = "QUEUE_FULL",
                           .metadata = {{"max_queue", "256"}},
                           .retry_after = absl::Seconds(2)})),
      R"({"event":"error","code":"RESOURCE_EXHAUSTED","reason":"QUEUE_FULL","message":"full",)"
      R"("metadata":{"max_queue":"256"},"retry_after_ms":2000,"request_id":""})");
}

TEST(JsonEvents, SkipsEventsOfANewerServer) {
  EXPECT_EQ(EventLine(v1::GenerateResponse(), Answer()), "");
}

}  // namespace
}  // namespace prefixd::ctl
