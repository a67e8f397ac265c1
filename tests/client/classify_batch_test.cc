// Classification through the client library, against a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/client.h"
#include "tests/client/fake_server.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::ClassifyRequest Request(const std::string& picture, const std::string& name = "cat") {
  v1::ClassifyRequest request;
  request.mutable_names()->add_names(name);
  request.mutable_names()->add_names("dog");
  if (!picture.empty()) request.mutable_query()->mutable_image()->set_data(picture);
  return request;
}

std::string Word(const absl::StatusOr<v1::ClassifyResponse>& result) {
  if (result.ok()) return result->top(0).name();
  const ErrorDetail detail = GetErrorDetail(result.status()).value_or(ErrorDetail{});
  return absl::StrCat(absl::StatusCodeToString(result.status().code()),
                      detail.reason.empty() ? "" : absl::StrCat(" ", detail.reason));
}

class ClassifyBatchTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ImageDigests mode, const ClientOptions& base = {}) {
    ClientOptions options = base;
    options.image_digests = mode;
    auto client = Client::Connect(server_.address(), options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  // Ranks them all; `words_` has a word for each result.
  absl::Status Run(Client* client, std::vector<absl::StatusOr<v1::ClassifyRequest>> requests,
                   size_t stop_after = 1'000'000) {
    size_t next = 0;
    words_.clear();
    return client->ClassifyBatch(
        [&]() -> std::optional<absl::StatusOr<v1::ClassifyRequest>> {
          if (next == requests.size()) return std::nullopt;
          ahead_ = std::max(ahead_, next + 1 - words_.size());
          return requests[next++];
        },
        [&](int64_t index, const absl::StatusOr<v1::ClassifyResponse>& result) {
          EXPECT_EQ(index, static_cast<int64_t>(words_.size()));
          words_.push_back(Word(result));
          return words_.size() < stop_after;
        },
        absl::Seconds(20));
  }

  // How the pictures travelled: bytes, or "#" for a digest.
  std::vector<std::string> Sent() {
    std::vector<std::string> sent;
    for (const v1::ClassifyRequest& request : server_.classification().requests()) {
      const v1::Image& image = request.query().image();
      EXPECT_NE(image.data().empty(), image.image_sha256().empty());
      sent.push_back(image.data().empty() ? "#" : image.data());
    }
    return sent;
  }

  FakeServer server_;
  std::vector<std::string> words_;
  size_t ahead_ = 0;  // The most requests that were handed out before their results.
};

TEST_F(ClassifyBatchTest, KeepsTheOrderOfMoreRequestsThanAreUnderWay) {
  server_.classification().AnswerInGroupsOf(16);
  std::vector<absl::StatusOr<v1::ClassifyRequest>> requests;
  std::vector<std::string> expected;
  for (int i = 0; i < 500; ++i) {
    expected.push_back(absl::StrCat("name", i));
    requests.push_back(Request(absl::StrCat("PNG", i), expected.back()));
  }
  const auto client = Connect(ImageDigests::kNever);
  EXPECT_TRUE(Run(client.get(), requests).ok());
  EXPECT_EQ(words_, expected);
  EXPECT_EQ(ahead_, 32u);
  EXPECT_EQ(server_.classification().requests().size(), 500u);
}

TEST_F(ClassifyBatchTest, EndsAtOnceWithoutRequests) {
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_TRUE(Run(client.get(), {}).ok());
  EXPECT_THAT(words_, IsEmpty());
}

TEST_F(ClassifyBatchTest, OffersDigestsAndSendsWhatIsMissingOnTheSameStream) {
  const auto client = Connect(ImageDigests::kAlways);
  ASSERT_TRUE(client->Classify(Request("B")).ok());  // Sent twice: "#", "B".
  EXPECT_TRUE(Run(client.get(), {Request("A", "a"), Request("B", "b"), Request("C", "c")}).ok());
  EXPECT_THAT(words_, ElementsAre("a", "b", "c"));
  const std::vector<std::string> sent = Sent();
  EXPECT_THAT(std::vector<std::string>(sent.begin(), sent.begin() + 2), ElementsAre("#", "B"));
  EXPECT_EQ(sent.size(), 7u);  // Three digests, two pictures.
  EXPECT_EQ(std::count(sent.begin() + 2, sent.end(), "#"), 3);
  EXPECT_EQ(std::count(sent.begin() + 2, sent.end(), "A"), 1);
  EXPECT_EQ(std::count(sent.begin() + 2, sent.end(), "C"), 1);
}

TEST_F(ClassifyBatchTest, RemembersPicturesThatWereTaken) {
  const auto client = Connect(ImageDigests::kAfterFirst);
  EXPECT_TRUE(Run(client.get(), {Request("A")}).ok());
  EXPECT_TRUE(Run(client.get(), {Request("A")}).ok());
  server_.ForgetImage("A");
  EXPECT_TRUE(Run(client.get(), {Request("A")}).ok());
  EXPECT_THAT(Sent(), ElementsAre("A", "#", "#", "A"));
  EXPECT_THAT(words_, ElementsAre("cat"));
}

TEST_F(ClassifyBatchTest, PutsErrorsInTheirPlace) {
  server_.classification().OnClassify(
      [](const v1::ClassifyRequest& request, v1::ClassifyResponse* response) {
        if (request.names().names(0) != "bad") return RankInOrder(request, response);
        return ToStatus({.code = grpc::StatusCode::INVALID_ARGUMENT,
                         .message = "no picture",
                         .reason = "IMAGE_CORRUPT"});
      });
  const auto client = Connect(ImageDigests::kAlways, {.max_message_bytes = 4096});
  EXPECT_TRUE(Run(client.get(), {absl::NotFoundError("no file"), Request("A", "a"),
                                 Request(std::string(5000, 'x')), Request("B", "bad"),
                                 Request("C", "c"), absl::NotFoundError("no file")})
                  .ok());
  EXPECT_THAT(words_, ElementsAre("NOT_FOUND", "a", "INVALID_ARGUMENT REQUEST_TOO_LARGE",
                                  "INVALID_ARGUMENT IMAGE_CORRUPT", "c", "NOT_FOUND"));
}

TEST_F(ClassifyBatchTest, HandsOnMoreErrorsThanRequestsMayBeUnderWay) {
  std::vector<absl::StatusOr<v1::ClassifyRequest>> requests(100, absl::NotFoundError("no file"));
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_TRUE(Run(client.get(), requests).ok());
  EXPECT_EQ(words_, std::vector<std::string>(100, "NOT_FOUND"));
  EXPECT_THAT(server_.classification().requests(), IsEmpty());
}

TEST_F(ClassifyBatchTest, StopsWhereNoMoreIsWanted) {
  const std::vector<absl::StatusOr<v1::ClassifyRequest>> requests(100, Request("A"));
  const auto client = Connect(ImageDigests::kNever);
  EXPECT_TRUE(Run(client.get(), requests, 3).ok());
  EXPECT_EQ(words_.size(), 3u);
}

TEST_F(ClassifyBatchTest, EndsWithTheStatusOfTheStream) {
  server_.classification().EndBatchAfter(2, ToStatus({.code = grpc::StatusCode::RESOURCE_EXHAUSTED,
                                                      .message = "read faster",
                                                      .reason = "SLOW_READER"}));
  const auto client = Connect(ImageDigests::kNever);
  const absl::Status status = Run(client.get(), {Request("A"), Request("B"), Request("C")});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status)->reason, "SLOW_READER");
  EXPECT_THAT(words_, ElementsAre("cat", "cat"));
}

TEST_F(ClassifyBatchTest, NoticesAnswersThatAreMissing) {
  server_.classification().EndBatchAfter(1, grpc::Status::OK);
  const auto client = Connect(ImageDigests::kNever);
  const absl::Status status = Run(client.get(), {Request("A"), Request("B")});
  EXPECT_EQ(status, absl::DataLossError("the stream ended without an answer to request 1"));
  EXPECT_THAT(words_, ElementsAre("cat"));
}

TEST_F(ClassifyBatchTest, NoticesAnswersOutOfOrder) {
  server_.classification().OnBatchAnswer(
      [](v1::ClassifyBatchResponse* answer) { answer->set_index(answer->index() + 1); });
  const auto client = Connect(ImageDigests::kNever);
  EXPECT_EQ(Run(client.get(), {Request("A")}),
            absl::DataLossError("the server answered request 1 of the stream, expected 0"));
}

TEST_F(ClassifyBatchTest, NoticesAnEmptyAnswer) {
  server_.classification().OnBatchAnswer(
      [](v1::ClassifyBatchResponse* answer) { answer->clear_result(); });
  const auto client = Connect(ImageDigests::kNever);
  EXPECT_TRUE(Run(client.get(), {Request("A")}).ok());
  EXPECT_THAT(words_, ElementsAre("DATA_LOSS"));
}

TEST_F(ClassifyBatchTest, TellsThatNobodyListens) {
  auto client = Client::Connect("127.0.0.1:1", {});
  ASSERT_TRUE(client.ok());
  EXPECT_EQ(Run(client->get(), {Request("A")}).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(words_, IsEmpty());
}

TEST_F(ClassifyBatchTest, SendsTheTokenAndADeadlineWithEveryCall) {
  const auto client = Connect(ImageDigests::kNever, {.token = "secret"});
  EXPECT_TRUE(Run(client.get(), {Request("A")}).ok());
  EXPECT_EQ(server_.classification().authorization(), "Bearer secret");
  EXPECT_TRUE(server_.classification().had_deadline());
  EXPECT_TRUE(client->Classify(Request("A"), absl::Seconds(20)).ok());
  EXPECT_TRUE(server_.classification().had_deadline());
  EXPECT_TRUE(client->Classify(Request("A")).ok());
  EXPECT_FALSE(server_.classification().had_deadline());
  EXPECT_EQ(server_.classification().authorization(), "Bearer secret");
}

TEST_F(ClassifyBatchTest, ScoresWithPicturesByDigest) {
  server_.classification().OnScore([](const v1::ScoreRequest&, v1::ScoreResponse* response) {
    response->add_continuations()->set_log_prob(-1.5);
    return grpc::Status::OK;
  });
  const auto client = Connect(ImageDigests::kAlways);
  v1::ScoreRequest request;
  request.mutable_chat()->add_messages()->add_parts()->mutable_image()->set_data("A");
  const auto response = client->Score(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->continuations(0).log_prob(), -1.5);
  const std::vector<v1::ScoreRequest> sent = server_.classification().scores();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].chat().messages(0).parts(0).image().data(), "");
  EXPECT_EQ(sent[1].chat().messages(0).parts(0).image().data(), "A");
}

TEST_F(ClassifyBatchTest, KeepsClassSets) {
  const auto client = Connect(ImageDigests::kAlways);
  v1::CreateClassSetRequest request;
  request.set_class_set_id("pets");
  request.add_names("cat");
  request.add_names("dog");
  for (const char* picture : {"A", "B", "A"}) {
    request.add_demonstrations()->mutable_image()->set_data(picture);
  }
  const auto created = client->CreateClassSet(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->name(), "classSets/pets");
  const std::vector<v1::CreateClassSetRequest> sent = server_.classification().creates();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].demonstrations(0).image().data(), "");
  EXPECT_EQ(sent[1].demonstrations(1).image().data(), "B");
  EXPECT_EQ(client->CreateClassSet(request).status().code(), absl::StatusCode::kAlreadyExists);

  request.set_class_set_id("plants");
  ASSERT_TRUE(client->CreateClassSet(request).ok());
  const auto sets = client->ListClassSets();
  ASSERT_TRUE(sets.ok());
  ASSERT_EQ(sets->size(), 2u);
  EXPECT_EQ(sets->at(1).name(), "classSets/plants");
  EXPECT_EQ(client->GetClassSet("classSets/pets")->names_size(), 2);
  EXPECT_TRUE(client->DeleteClassSet("classSets/pets").ok());
  EXPECT_EQ(GetErrorDetail(client->DeleteClassSet("classSets/pets"))->reason,
            "CLASS_SET_NOT_FOUND");
}

}  // namespace
}  // namespace prefixd::testing
