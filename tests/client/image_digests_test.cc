// Images that travel as digests, and prefixes, against a server in this process.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/sha256.h"
#include "client/client.h"
#include "client/input.h"
#include "tests/client/fake_server.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::GenerateRequest Question(std::vector<std::string> images) {
  v1::GenerateRequest request;
  *request.mutable_chat()->add_messages() = UserMessage("What is it?", std::move(images));
  return request;
}

std::string DigestOf(const std::string& bytes) {
  const Sha256Digest digest = Sha256Of(bytes);
  return std::string(digest.begin(), digest.end());
}

// How each image of a request travelled: its bytes, or "#" for a digest.
std::vector<std::string> Sent(const v1::ChatInput& chat) {
  std::vector<std::string> sent;
  for (const v1::Part& part : chat.messages(0).parts()) {
    if (!part.has_image()) continue;
    EXPECT_NE(part.image().data().empty(), part.image().image_sha256().empty());
    sent.push_back(part.image().data().empty() ? "#" : part.image().data());
  }
  return sent;
}

class ImageDigestsTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ImageDigests mode) {
    auto client = Client::Connect(server_.address(), {.image_digests = mode});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  absl::Status Ask(Client* client, std::vector<std::string> images) {
    auto stream = client->Generate(Question(std::move(images)), absl::Seconds(20));
    if (!stream.ok()) return stream.status();
    std::string text;
    for (v1::GenerateResponse event; (*stream)->Read(&event);) text += event.delta().text();
    const absl::Status status = (*stream)->Finish();
    EXPECT_EQ(text, status.ok() ? "It is a cat." : "");
    return status;
  }
  // What the server got in its nth request.
  std::vector<std::string> SentIn(size_t n) { return Sent(server_.requests().at(n).chat()); }

  FakeServer server_;
};

TEST_F(ImageDigestsTest, SendsBytesOnceAndThenTheDigest) {
  const auto client = Connect(ImageDigests::kAfterFirst);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Ask(client.get(), {"PNG"}).ok());
  ASSERT_EQ(server_.requests().size(), 3u);
  EXPECT_THAT(SentIn(0), ElementsAre("PNG"));
  EXPECT_THAT(SentIn(1), ElementsAre("#"));
  EXPECT_THAT(SentIn(2), ElementsAre("#"));
  EXPECT_EQ(server_.requests()[1].chat().messages(0).parts(0).image().image_sha256(),
            DigestOf("PNG"));
}

TEST_F(ImageDigestsTest, OffersTheDigestFirstWhereAsked) {
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_TRUE(Ask(client.get(), {"PNG"}).ok());
  ASSERT_EQ(server_.requests().size(), 2u);
  EXPECT_THAT(SentIn(0), ElementsAre("#"));
  EXPECT_THAT(SentIn(1), ElementsAre("PNG"));
  // Another client of the same server pays nothing.
  EXPECT_TRUE(Ask(Connect(ImageDigests::kAlways).get(), {"PNG"}).ok());
  ASSERT_EQ(server_.requests().size(), 3u);
  EXPECT_THAT(SentIn(2), ElementsAre("#"));
}

TEST_F(ImageDigestsTest, NeverOffersWhereNotWanted) {
  const auto client = Connect(ImageDigests::kNever);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Ask(client.get(), {"PNG"}).ok());
  EXPECT_THAT(SentIn(1), ElementsAre("PNG"));
}

TEST_F(ImageDigestsTest, SendsOnlyTheImageThatIsMissing) {
  const auto client = Connect(ImageDigests::kAfterFirst);
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  server_.ForgetImage("dog");
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  ASSERT_EQ(server_.requests().size(), 3u);
  EXPECT_THAT(SentIn(1), ElementsAre("#", "#"));
  EXPECT_THAT(SentIn(2), ElementsAre("#", "dog"));
}

// Places are counted over a prefix's images too: the digest tells.
TEST_F(ImageDigestsTest, FindsTheMissingImageByItsDigest) {
  server_.OnGenerate(
      [](grpc::ServerContext* context, const v1::GenerateRequest& request, Writer* writer) {
        if (Sent(request.chat()) == std::vector<std::string>{"#", "#"}) {
          return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                           .reason = "IMAGE_NOT_CACHED",
                           .metadata = {{"image_index", "1"},
                                        {"sha256", absl::BytesToHexString(DigestOf("cat"))}}});
        }
        return AnswerWith({"It is ", "a cat."})(context, request, writer);
      });
  const auto client = Connect(ImageDigests::kAfterFirst);
  ASSERT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  EXPECT_THAT(Sent(server_.last_request().chat()), ElementsAre("cat", "#"));
}

// As a list of digests that was cut off: the places still tell.
TEST_F(ImageDigestsTest, FindsTheMissingImageByItsPlace) {
  server_.OnGenerate(
      [](grpc::ServerContext* context, const v1::GenerateRequest& request, Writer* writer) {
        if (Sent(request.chat()) == std::vector<std::string>{"#", "#"}) {
          return ToStatus(
              {.code = grpc::StatusCode::NOT_FOUND,
               .reason = "IMAGE_NOT_CACHED",
               .metadata = {{"image_index", "1"},
                            {"sha256", absl::BytesToHexString(DigestOf("dog")).substr(0, 60)}}});
        }
        return AnswerWith({"It is ", "a cat."})(context, request, writer);
      });
  const auto client = Connect(ImageDigests::kAfterFirst);
  ASSERT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
  EXPECT_THAT(Sent(server_.last_request().chat()), ElementsAre("#", "dog"));
}

TEST_F(ImageDigestsTest, SendsAllThatAreMissing) {
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog", "cat"}).ok());
  ASSERT_EQ(server_.requests().size(), 2u);
  EXPECT_THAT(SentIn(1), ElementsAre("cat", "dog", "cat"));
}

TEST_F(ImageDigestsTest, SendsAllBytesIfAServerNamesOneMissingImageAtATime) {
  server_.NameOneMissingImage();
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_TRUE(Ask(client.get(), {"cat", "dog", "owl"}).ok());
  ASSERT_EQ(server_.requests().size(), 3u);
  EXPECT_THAT(SentIn(1), ElementsAre("cat", "#", "#"));
  EXPECT_THAT(SentIn(2), ElementsAre("cat", "dog", "owl"));
}

// Ways to name the missing images that do not say which.
TEST_F(ImageDigestsTest, SendsAllBytesIfItCannotTellWhichIsMissing) {
  for (const char* const index : {"", "7", "x", "-1", "0,,1", "18446744073709551616"}) {
    server_.OnGenerate(AnswerWith({"It is ", "a cat."}));
    const auto client = Connect(ImageDigests::kAfterFirst);
    ASSERT_TRUE(Ask(client.get(), {"cat", "dog"}).ok());
    const size_t before = server_.requests().size();
    server_.OnGenerate(
        [index](grpc::ServerContext* context, const v1::GenerateRequest& request, Writer* writer) {
          if (Sent(request.chat()) == std::vector<std::string>{"#", "#"}) {
            return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                             .reason = "IMAGE_NOT_CACHED",
                             .metadata = {{"image_index", index}}});
          }
          return AnswerWith({"It is ", "a cat."})(context, request, writer);
        });
    EXPECT_TRUE(Ask(client.get(), {"cat", "dog"}).ok()) << index;
    EXPECT_EQ(server_.requests().size(), before + 2);
    EXPECT_THAT(Sent(server_.last_request().chat()), ElementsAre("cat", "dog")) << index;
  }
}

TEST_F(ImageDigestsTest, GivesUpOnAServerThatIsNeverSatisfied) {
  server_.OnGenerate(RefuseWith({.code = grpc::StatusCode::NOT_FOUND,
                                 .message = "image 0 is not cached",
                                 .reason = "IMAGE_NOT_CACHED",
                                 .metadata = {{"image_index", "0"}}}));
  const auto client = Connect(ImageDigests::kAlways);
  const absl::Status status = Ask(client.get(), {"cat", "dog"});
  EXPECT_EQ(GetErrorDetail(status)->reason, "IMAGE_NOT_CACHED");
  EXPECT_LE(server_.requests().size(), 3u);
}

TEST_F(ImageDigestsTest, GivesAServerWithoutDigestsTheBytes) {
  server_.OnGenerate([](grpc::ServerContext* context, const v1::GenerateRequest& request,
                        Writer* writer) {
    for (const v1::Part& part : request.chat().messages(0).parts()) {
      if (!part.image().image_sha256().empty()) {
        return ToStatus({.code = grpc::StatusCode::UNIMPLEMENTED, .reason = "FEATURE_UNSUPPORTED"});
      }
    }
    return AnswerWith({"It is ", "a cat."})(context, request, writer);
  });
  const auto client = Connect(ImageDigests::kAfterFirst);
  EXPECT_TRUE(Ask(client.get(), {"PNG"}).ok());
  EXPECT_TRUE(Ask(client.get(), {"PNG"}).ok());
  EXPECT_THAT(Sent(server_.last_request().chat()), ElementsAre("PNG"));
}

TEST_F(ImageDigestsTest, RemembersNothingOfARequestThatWasRefused) {
  server_.OnGenerate(RefuseWith({.message = "bad", .reason = "IMAGE_CORRUPT"}));
  const auto client = Connect(ImageDigests::kAfterFirst);
  EXPECT_EQ(GetErrorDetail(Ask(client.get(), {"PNG"}))->reason, "IMAGE_CORRUPT");
  EXPECT_FALSE(Ask(client.get(), {"PNG"}).ok());
  EXPECT_THAT(SentIn(1), ElementsAre("PNG"));
}

TEST_F(ImageDigestsTest, PassesOnWhyAServerRefusesTheBytes) {
  server_.OnGenerate(
      RefuseWith({.message = "17 MB, the limit is 16", .reason = "IMAGE_TOO_LARGE"}));
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_EQ(GetErrorDetail(Ask(client.get(), {std::string(17 << 20, 'x')}))->reason,
            "IMAGE_TOO_LARGE");
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ImageDigestsTest, SendsNothingAboveTheMessageLimitNotEvenADigest) {
  const auto client = Connect(ImageDigests::kAlways);
  EXPECT_EQ(GetErrorDetail(Ask(client.get(), {std::string(32 << 20, 'x')}))->reason,
            "REQUEST_TOO_LARGE");
  EXPECT_THAT(server_.requests(), IsEmpty());
}

TEST_F(ImageDigestsTest, LeavesTheCallersOwnDigestsAlone) {
  const auto client = Connect(ImageDigests::kAlways);
  v1::GenerateRequest request = Question({"PNG"});
  request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_image()->set_image_sha256(
      "of the caller");
  auto stream = client->Generate(request);
  EXPECT_TRUE((*stream)->Finish().ok());
  const v1::Image image = server_.last_request().chat().messages(0).parts(0).image();
  EXPECT_EQ(image.data(), "PNG");
  EXPECT_EQ(image.image_sha256(), "of the caller");
  request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_image()->clear_data();
  stream = client->Generate(request);
  EXPECT_EQ(GetErrorDetail((*stream)->Finish())->reason, "IMAGE_NOT_CACHED");
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ImageDigestsTest, NeverSendsAgainAfterAnEvent) {
  server_.OnGenerate([](grpc::ServerContext*, const v1::GenerateRequest&, Writer* writer) {
    v1::GenerateResponse event;
    event.mutable_started();
    writer->Write(event);
    return ToStatus({.code = grpc::StatusCode::NOT_FOUND, .reason = "IMAGE_NOT_CACHED"});
  });
  const auto client = Connect(ImageDigests::kAfterFirst);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(GetErrorDetail(Ask(client.get(), {"PNG"}))->reason, "IMAGE_NOT_CACHED");
  }
  EXPECT_THAT(SentIn(1), ElementsAre("#"));
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ImageDigestsTest, KeepsTheDeadlineOverAttempts) {
  server_.OnGenerate([](grpc::ServerContext* context, const v1::GenerateRequest&, Writer*) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (!context->IsCancelled() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::OK;
  });
  const auto client = Connect(ImageDigests::kAlways);
  auto stream = client->Generate(Question({"PNG"}), absl::Milliseconds(300));
  const absl::Time start = absl::Now();
  EXPECT_EQ((*stream)->Finish().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ImageDigestsTest, ACancelledCallIsNotSentAgain) {
  for (int i = 0; i < 20; ++i) {
    const auto client = Connect(ImageDigests::kAlways);
    server_.ForgetImage("PNG");
    auto stream = client->Generate(Question({"PNG"}));
    ASSERT_TRUE(stream.ok());
    std::jthread canceller([&] { (*stream)->Cancel(); });
    const absl::Status status = (*stream)->Finish();
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status) || absl::IsNotFound(status)) << status;
  }
  const auto client = Connect(ImageDigests::kAlways);
  server_.ForgetImage("PNG");
  const size_t before = server_.requests().size();
  auto stream = client->Generate(Question({"PNG"}));
  (*stream)->Cancel();
  EXPECT_FALSE((*stream)->Finish().ok());
  EXPECT_LE(server_.requests().size(), before + 1);
}

TEST_F(ImageDigestsTest, AStreamOutlivesItsClient) {
  auto client = Connect(ImageDigests::kAlways);
  auto stream = client->Generate(Question({"PNG"}));
  client = nullptr;
  EXPECT_TRUE((*stream)->Finish().ok());
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(ImageDigestsTest, HoldsForPromptsAndTokens) {
  const auto client = Connect(ImageDigests::kAfterFirst);
  ASSERT_TRUE(Ask(client.get(), {"PNG"}).ok());
  v1::GenerateRequest prompt;
  prompt.mutable_prompt()->add_parts()->set_text("a");
  prompt.mutable_prompt()->add_parts()->mutable_image()->set_data("PNG");
  EXPECT_TRUE((*client->Generate(prompt))->Finish().ok());
  EXPECT_EQ(server_.last_request().prompt().parts(1).image().image_sha256(), DigestOf("PNG"));
  EXPECT_EQ(server_.last_request().prompt().parts(1).image().data(), "");
  v1::GenerateRequest tokens;
  tokens.mutable_tokens()->add_ids(1);
  tokens.mutable_tokens()->add_images()->set_data("PNG");
  EXPECT_TRUE((*client->Generate(tokens))->Finish().ok());
  EXPECT_EQ(server_.last_request().tokens().images(0).image_sha256(), DigestOf("PNG"));
  EXPECT_EQ(server_.last_request().tokens().images(0).data(), "");
}

TEST_F(ImageDigestsTest, HoldsForCountingAndPinning) {
  const auto client = Connect(ImageDigests::kAlways);
  v1::CountTokensRequest count;
  *count.mutable_chat() = Question({"PNG"}).chat();
  EXPECT_TRUE(client->CountTokens(count).ok());
  ASSERT_EQ(server_.counts().size(), 2u);
  EXPECT_THAT(Sent(server_.counts()[0].chat()), ElementsAre("#"));
  EXPECT_THAT(Sent(server_.counts()[1].chat()), ElementsAre("PNG"));
  v1::CreatePrefixRequest create;
  *create.mutable_chat() = Question({"PNG", "dog"}).chat();
  EXPECT_TRUE(client->CreatePrefix(create).ok());
  ASSERT_EQ(server_.creates().size(), 2u);
  EXPECT_THAT(Sent(server_.creates()[1].chat()), ElementsAre("#", "dog"));
}

TEST(SentImages, ForgetsTheOldestFirst) {
  SentImages sent;
  for (size_t i = 0; i < SentImages::kMaxDigests; ++i) sent.Add(absl::StrCat(i));
  EXPECT_TRUE(sent.Has("0"));
  sent.Add("0");  // Known: nothing moves.
  sent.Add("new");
  EXPECT_FALSE(sent.Has("0"));
  EXPECT_TRUE(sent.Has("1"));
  EXPECT_TRUE(sent.Has("new"));
  sent.Forget("new");
  EXPECT_FALSE(sent.Has("new"));
}

TEST_F(ImageDigestsTest, PinsShowsTouchesListsAndReleasesPrefixes) {
  const auto client = Connect(ImageDigests::kAfterFirst);
  v1::CreatePrefixRequest create;
  *create.mutable_chat() = Question({"PNG"}).chat();
  for (const char* const id : {"b", "a"}) {
    create.set_prefix_id(id);
    const auto prefix = client->CreatePrefix(create);
    ASSERT_TRUE(prefix.ok()) << prefix.status();
    EXPECT_EQ(prefix->name(), absl::StrCat("prefixes/", id));
  }
  EXPECT_EQ(GetErrorDetail(client->CreatePrefix(create).status())->reason, "PREFIX_EXISTS");
  const auto list = client->ListPrefixes();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].name(), "prefixes/a");
  EXPECT_EQ((*list)[1].name(), "prefixes/b");
  EXPECT_EQ(client->TouchPrefix("prefixes/a", absl::Milliseconds(61'500))->ttl().seconds(), 61);
  EXPECT_EQ(client->TouchPrefix("prefixes/a")->ttl().nanos(), 500'000'000);
  EXPECT_EQ(client->GetPrefix("prefixes/a")->ttl().seconds(), 61);
  EXPECT_TRUE(client->ReleasePrefix("prefixes/a").ok());
  for (const absl::Status& status :
       {client->ReleasePrefix("prefixes/a"), client->GetPrefix("prefixes/a").status(),
        client->TouchPrefix("prefixes/a").status()}) {
    EXPECT_EQ(GetErrorDetail(status)->reason, "PREFIX_NOT_FOUND");
  }
}

}  // namespace
}  // namespace prefixd::testing
