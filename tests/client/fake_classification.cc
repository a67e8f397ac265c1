#include "tests/client/fake_classification.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_server.h"

namespace prefixd::testing {
namespace {

grpc::Status NoSuchSet(const std::string& name) {
  return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                   .message = absl::StrCat("there is no ", name),
                   .reason = "CLASS_SET_NOT_FOUND",
                   .metadata = {{"class_set", name}}});
}

std::vector<const v1::Image*> ImagesIn(const v1::ClassifyRequest& request) {
  if (!request.query().has_image()) return {};
  return {&request.query().image()};
}

}  // namespace

grpc::Status RankInOrder(const v1::ClassifyRequest& request, v1::ClassifyResponse* response) {
  std::vector<std::string> names(request.names().names().begin(), request.names().names().end());
  if (request.has_class_set()) names = {"cat", "dog", "cow"};
  response->set_request_id("req-1");
  response->set_model("demo");
  const int count = static_cast<int>(names.size());
  const int top_k = std::min(count, request.has_top_k() ? request.top_k() : 5);
  for (int i = 0; i < count; ++i) {
    const double probability = std::ldexp(1.0, -1 - i);
    if (request.all_scores()) {
      response->add_scores(-1.0 - i);
      if (!request.skip_probabilities()) response->add_probabilities(probability);
    }
    if (i >= top_k) continue;
    v1::ClassScore* const score = response->add_top();
    score->set_index(i);
    score->set_name(names[static_cast<size_t>(i)]);
    score->set_score(-1.0 - i);
    score->set_log_prob(-2.0 - 2 * i);
    score->set_num_tokens(2);
    if (!request.skip_probabilities()) score->set_probability(probability);
  }
  response->mutable_usage()->set_prompt_tokens(20);
  response->mutable_usage()->set_cached_prompt_tokens(18);
  response->mutable_cache()->set_hit_tokens(18);
  response->mutable_cache()->set_miss(v1::CACHE_MISS_REASON_NONE);
  response->mutable_scoring()->set_candidates(count);
  response->mutable_scoring()->set_computed_rows(7);
  response->mutable_scoring()->set_saved_rows(5);
  response->mutable_scoring()->set_passes(1);
  response->mutable_scoring()->set_contexts(1);
  response->mutable_timings()->mutable_total()->set_nanos(12'500'000);
  return grpc::Status::OK;
}

FakeClassification::FakeClassification(TakeImages take_images)
    : take_images_(std::move(take_images)) {}

void FakeClassification::OnClassify(ClassifyHandler handler) {
  MutexLock lock(&mutex_);
  classify_ = std::move(handler);
}

void FakeClassification::OnScore(ScoreHandler handler) {
  MutexLock lock(&mutex_);
  score_ = std::move(handler);
}

void FakeClassification::AnswerInGroupsOf(int size) {
  MutexLock lock(&mutex_);
  group_size_ = size;
}

void FakeClassification::OnBatchAnswer(std::function<void(v1::ClassifyBatchResponse*)> change) {
  MutexLock lock(&mutex_);
  change_ = std::move(change);
}

void FakeClassification::EndBatchAfter(int answers, grpc::Status status) {
  MutexLock lock(&mutex_);
  end_after_ = answers;
  end_status_ = std::move(status);
}

std::vector<v1::ClassifyRequest> FakeClassification::requests() const {
  MutexLock lock(&mutex_);
  return requests_;
}

std::vector<v1::ScoreRequest> FakeClassification::scores() const {
  MutexLock lock(&mutex_);
  return scores_;
}

std::vector<v1::CreateClassSetRequest> FakeClassification::creates() const {
  MutexLock lock(&mutex_);
  return creates_;
}

std::string FakeClassification::authorization() const {
  MutexLock lock(&mutex_);
  return authorization_;
}

bool FakeClassification::had_deadline() const {
  MutexLock lock(&mutex_);
  return had_deadline_;
}

void FakeClassification::Note(grpc::ServerContext* context) {
  const auto found = context->client_metadata().find("authorization");
  MutexLock lock(&mutex_);
  authorization_ = found == context->client_metadata().end()
                       ? ""
                       : std::string(found->second.data(), found->second.size());
  had_deadline_ = context->deadline() < std::chrono::system_clock::now() + std::chrono::hours(1);
}

grpc::Status FakeClassification::Rank(const v1::ClassifyRequest& request,
                                      v1::ClassifyResponse* response) {
  ClassifyHandler handler;
  {
    MutexLock lock(&mutex_);
    requests_.push_back(request);
    handler = classify_;
  }
  const grpc::Status missing = take_images_(ImagesIn(request));
  return missing.ok() ? handler(request, response) : missing;
}

grpc::Status FakeClassification::Classify(grpc::ServerContext* context,
                                          const v1::ClassifyRequest* request,
                                          v1::ClassifyResponse* response) {
  Note(context);
  return Rank(*request, response);
}

grpc::Status FakeClassification::ClassifyBatch(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::ClassifyBatchResponse, v1::ClassifyBatchRequest>* stream) {
  Note(context);
  int group_size, end_after;
  grpc::Status end_status;
  std::function<void(v1::ClassifyBatchResponse*)> change;
  {
    MutexLock lock(&mutex_);
    group_size = group_size_;
    end_after = end_after_;
    end_status = end_status_;
    change = change_;
  }
  int64_t index = 0;
  for (bool open = true; open;) {
    std::deque<v1::ClassifyRequest> group;
    for (v1::ClassifyBatchRequest message;
         static_cast<int>(group.size()) < group_size && (open = stream->Read(&message));) {
      group.push_back(message.request());
    }
    for (const v1::ClassifyRequest& request : group) {
      if (index == end_after) return end_status;
      v1::ClassifyBatchResponse answer;
      answer.set_index(index++);
      const grpc::Status status = Rank(request, answer.mutable_response());
      if (!status.ok()) answer.mutable_error()->ParseFromString(status.error_details());
      if (change) change(&answer);
      stream->Write(answer);
    }
  }
  return index == end_after ? end_status : grpc::Status::OK;
}

grpc::Status FakeClassification::Score(grpc::ServerContext* context,
                                       const v1::ScoreRequest* request,
                                       v1::ScoreResponse* response) {
  Note(context);
  ScoreHandler handler;
  {
    MutexLock lock(&mutex_);
    scores_.push_back(*request);
    handler = score_;
  }
  std::vector<const v1::Image*> images;
  for (const v1::ChatMessage& message : request->chat().messages()) {
    for (const v1::Part& part : message.parts()) {
      if (part.has_image()) images.push_back(&part.image());
    }
  }
  const grpc::Status missing = take_images_(images);
  return missing.ok() ? handler(*request, response) : missing;
}

grpc::Status FakeClassification::CreateClassSet(grpc::ServerContext* context,
                                                const v1::CreateClassSetRequest* request,
                                                v1::CreateClassSetResponse* response) {
  Note(context);
  std::vector<const v1::Image*> images;
  for (const v1::Demonstration& demonstration : request->demonstrations()) {
    if (demonstration.has_image()) images.push_back(&demonstration.image());
  }
  const grpc::Status missing = take_images_(images);
  MutexLock lock(&mutex_);
  creates_.push_back(*request);
  if (!missing.ok()) return missing;
  v1::ClassSet set;
  set.set_name(absl::StrCat("classSets/", request->class_set_id()));
  if (sets_.count(set.name()) > 0) {
    return ToStatus({.code = grpc::StatusCode::ALREADY_EXISTS,
                     .message = absl::StrCat(set.name(), " exists"),
                     .reason = "CLASS_SET_EXISTS"});
  }
  set.set_num_names(request->names_size());
  set.set_num_tokens(2 * request->names_size());
  set.set_internal_nodes(request->names_size() - 1);
  set.set_num_demonstrations(request->demonstrations_size());
  set.set_num_shots(request->num_shots());
  set.set_stored_bytes(1536);
  set.set_label_prefix(request->label_prefix());
  *set.mutable_prompt() = request->prompt();
  set.mutable_create_time()->set_seconds(1'767'225'600);  // 2026-01-01.
  set.mutable_age()->set_seconds(90);
  set.set_requests(4);
  *response->mutable_class_set() = set;
  *set.mutable_names() = request->names();
  sets_.emplace(set.name(), set);
  return grpc::Status::OK;
}

grpc::Status FakeClassification::GetClassSet(grpc::ServerContext*,
                                             const v1::GetClassSetRequest* request,
                                             v1::GetClassSetResponse* response) {
  MutexLock lock(&mutex_);
  const auto found = sets_.find(request->name());
  if (found == sets_.end()) return NoSuchSet(request->name());
  *response->mutable_class_set() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeClassification::ListClassSets(grpc::ServerContext*,
                                               const v1::ListClassSetsRequest* request,
                                               v1::ListClassSetsResponse* response) {
  MutexLock lock(&mutex_);
  // One a page, so that the client must ask again.
  const auto next = sets_.upper_bound(request->page_token());
  if (next == sets_.end()) return grpc::Status::OK;
  *response->add_class_sets() = next->second;
  response->mutable_class_sets(0)->clear_names();
  if (std::next(next) != sets_.end()) response->set_next_page_token(next->first);
  return grpc::Status::OK;
}

grpc::Status FakeClassification::DeleteClassSet(grpc::ServerContext*,
                                                const v1::DeleteClassSetRequest* request,
                                                v1::DeleteClassSetResponse*) {
  MutexLock lock(&mutex_);
  return sets_.erase(request->name()) > 0 ? grpc::Status::OK : NoSuchSet(request->name());
}

}  // namespace prefixd::testing
