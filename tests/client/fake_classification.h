// A ClassificationService that says what the test wants.
#ifndef PREFIXD_TESTS_CLIENT_FAKE_CLASSIFICATION_H_
#define PREFIXD_TESTS_CLIENT_FAKE_CLASSIFICATION_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "prefixd/v1/classification_service.grpc.pb.h"

namespace prefixd::testing {

using ClassifyHandler =
    std::function<grpc::Status(const v1::ClassifyRequest&, v1::ClassifyResponse*)>;
using ScoreHandler = std::function<grpc::Status(const v1::ScoreRequest&, v1::ScoreResponse*)>;

// Ranks the names of a request (of a set: cat, dog, cow) in their order with the probabilities 1/2,
// 1/4, 1/8 and so on, scores -1, -2, -3 and so on, request id "req-1", model "demo", context of 20
// tokens, 18 of them cached, 7 rows computed and 5 saved, 12.5 ms. Honours top_k, all_scores and
// skip_probabilities.
grpc::Status RankInOrder(const v1::ClassifyRequest& request, v1::ClassifyResponse* response);

// Remembers images as FakeServer does. Class sets are kept, one a page. Thread-safe.
class FakeClassification : public v1::ClassificationService::Service {
 public:
  // OK, or the refusal of digests of unknown images.
  using TakeImages = std::function<grpc::Status(const std::vector<const v1::Image*>&)>;

  explicit FakeClassification(TakeImages take_images);

  // Called for each Classify and each request of a batch whose images are there.
  void OnClassify(ClassifyHandler handler);
  void OnScore(ScoreHandler handler);
  // Answers of a batch come when so many requests were read, or all. Needs a client that sends
  // bytes.
  void AnswerInGroupsOf(int size);
  // Changes the answers of batches before they are sent.
  void OnBatchAnswer(std::function<void(v1::ClassifyBatchResponse*)> change);
  // Ends batches with this status after so many answers.
  void EndBatchAfter(int answers, grpc::Status status);

  // What Classify and batches got, refused ones too, in order; likewise the others.
  std::vector<v1::ClassifyRequest> requests() const;
  std::vector<v1::ScoreRequest> scores() const;
  std::vector<v1::CreateClassSetRequest> creates() const;
  // `authorization` of the last call of Classify, Score or a batch; empty: none.
  std::string authorization() const;
  // Whether the last call of Classify or a batch had a deadline.
  bool had_deadline() const;

 private:
  grpc::Status Classify(grpc::ServerContext* context, const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override;
  grpc::Status ClassifyBatch(grpc::ServerContext* context,
                             grpc::ServerReaderWriter<v1::ClassifyBatchResponse,
                                                      v1::ClassifyBatchRequest>* stream) override;
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override;
  grpc::Status CreateClassSet(grpc::ServerContext* context,
                              const v1::CreateClassSetRequest* request,
                              v1::CreateClassSetResponse* response) override;
  grpc::Status GetClassSet(grpc::ServerContext* context, const v1::GetClassSetRequest* request,
                           v1::GetClassSetResponse* response) override;
  grpc::Status ListClassSets(grpc::ServerContext* context, const v1::ListClassSetsRequest* request,
                             v1::ListClassSetsResponse* response) override;
  grpc::Status DeleteClassSet(grpc::ServerContext* context,
                              const v1::DeleteClassSetRequest* request,
                              v1::DeleteClassSetResponse* response) override;

  grpc::Status Rank(const v1::ClassifyRequest& request, v1::ClassifyResponse* response);
  void Note(grpc::ServerContext* context);

  const TakeImages take_images_;
  mutable Mutex mutex_;
  ClassifyHandler classify_ ABSL_GUARDED_BY(mutex_) = RankInOrder;
  ScoreHandler score_ ABSL_GUARDED_BY(mutex_);
  int group_size_ ABSL_GUARDED_BY(mutex_) = 1;
  std::function<void(v1::ClassifyBatchResponse*)> change_ ABSL_GUARDED_BY(mutex_);
  int end_after_ ABSL_GUARDED_BY(mutex_) = -1;
  grpc::Status end_status_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::ClassifyRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::ScoreRequest> scores_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CreateClassSetRequest> creates_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::ClassSet> sets_ ABSL_GUARDED_BY(mutex_);
  std::string authorization_ ABSL_GUARDED_BY(mutex_);
  bool had_deadline_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CLIENT_FAKE_CLASSIFICATION_H_
