// What sessions share, seen by clients of the real daemon: receipts, digests instead of bytes,
// pinned prefixes and the walls between tenants.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

constexpr char kFirst[] = "Describe the image.";
constexpr char kSecond[] = "What is the background color?";

std::string Picture() {
  return *ReadFile(SourcePath("models/demo/pictures/picture-15.png"), 1 << 20);
}

std::string RawDigest(const std::string& bytes) {
  const Sha256Digest digest = Sha256Of(bytes);
  return std::string(digest.begin(), digest.end());
}

// Replaces the bytes of every image by their digest.
v1::GenerateRequest NamedByDigest(v1::GenerateRequest request) {
  for (v1::ChatMessage& message : *request.mutable_chat()->mutable_messages()) {
    for (v1::Part& part : *message.mutable_parts()) {
      if (!part.has_image()) continue;
      part.mutable_image()->set_image_sha256(RawDigest(part.image().data()));
      part.mutable_image()->clear_data();
    }
  }
  return request;
}

const v1::CacheReceipt& ReceiptOf(const Answer& answer) {
  return answer.finished.receipt().cache();
}

TEST(SharingTest, TheSecondQuestionAboutAPictureCostsItsOwnWords) {
  Daemon daemon;
  const Answer first = daemon.Generate(Ask(kFirst, Picture()));
  ASSERT_TRUE(first.status.ok()) << first.status.error_message();
  EXPECT_EQ(ReceiptOf(first).images_encoded(), 1);
  EXPECT_EQ(ReceiptOf(first).hit_tokens(), 0);
  EXPECT_EQ(ReceiptOf(first).miss(), v1::CACHE_MISS_REASON_NOT_CACHED);

  const Answer second = daemon.Generate(Ask(kSecond, Picture()));
  ASSERT_TRUE(second.status.ok()) << second.status.error_message();
  const v1::Usage& usage = second.finished.usage();
  EXPECT_EQ(ReceiptOf(second).images_encoded(), 0);
  EXPECT_EQ(ReceiptOf(second).feature_hits(), 0);
  EXPECT_EQ(ReceiptOf(second).images_in_prefix(), 1);
  EXPECT_EQ(ReceiptOf(second).decode_hits(), 1);
  EXPECT_EQ(ReceiptOf(second).hit_tokens() + ReceiptOf(second).computed_tokens(),
            usage.prompt_tokens());
  EXPECT_EQ(usage.cached_prompt_tokens(), ReceiptOf(second).hit_tokens());
  EXPECT_GT(usage.cached_prompt_tokens(), usage.image_tokens());

  v1::GenerateRequest lonely = Ask(kSecond, Picture());
  lonely.set_bypass_prefix_cache(true);
  const Answer bypass = daemon.Generate(lonely);
  EXPECT_EQ(bypass.text(), second.text());
  EXPECT_EQ(ReceiptOf(bypass).hit_tokens(), 0);
  EXPECT_EQ(ReceiptOf(bypass).miss(), v1::CACHE_MISS_REASON_BYPASSED);
}

TEST(SharingTest, ADigestStandsForBytesThatWereSent) {
  Daemon daemon;
  const v1::GenerateRequest question = Ask(kFirst, Picture());
  const Answer unknown = daemon.Generate(NamedByDigest(question));
  EXPECT_EQ(unknown.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.reason(), "IMAGE_NOT_CACHED");
  EXPECT_FALSE(unknown.got_headers);
  const Answer sent = daemon.Generate(question);
  ASSERT_TRUE(sent.status.ok()) << sent.status.error_message();
  const Answer named = daemon.Generate(NamedByDigest(question));
  ASSERT_TRUE(named.status.ok()) << named.status.error_message();
  EXPECT_EQ(named.text(), sent.text());

  v1::GenerateRequest wrong = question;
  for (v1::Part& part : *wrong.mutable_chat()->mutable_messages(0)->mutable_parts()) {
    if (part.has_image()) part.mutable_image()->set_image_sha256(RawDigest("another"));
  }
  EXPECT_EQ(daemon.Generate(wrong).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(SharingTest, APinnedPrefixAnswersAndExpires) {
  Daemon daemon;
  const auto prefixes = v1::PrefixService::NewStub(daemon.Connect());
  v1::CreatePrefixRequest create;
  create.set_prefix_id("picture");
  create.mutable_ttl()->set_seconds(2);
  *create.mutable_chat() = Ask("", Picture()).chat();
  create.mutable_chat()->mutable_messages(0)->mutable_parts()->RemoveLast();  // The empty text.
  ASSERT_TRUE(create.chat().messages(0).parts(0).has_image());
  v1::CreatePrefixResponse created;
  {
    grpc::ClientContext context;
    const grpc::Status status = prefixes->CreatePrefix(&context, create, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  const absl::Time pinned = absl::Now();
  EXPECT_EQ(created.prefix().name(), "prefixes/picture");
  EXPECT_GT(created.prefix().pinned_tokens(), 100);

  v1::GenerateRequest request = Ask(kFirst);
  request.set_prefix("prefixes/picture");
  const Answer answer = daemon.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text(), daemon.Generate(Ask(kFirst, Picture())).text());
  EXPECT_GE(answer.finished.usage().cached_prompt_tokens(), created.prefix().pinned_tokens());
  EXPECT_EQ(ReceiptOf(answer).images_encoded(), 0);

  // Two seconds, and at most one more.
  while (true) {
    grpc::ClientContext context;
    v1::GetPrefixRequest get;
    get.set_name("prefixes/picture");
    v1::GetPrefixResponse response;
    const grpc::Status status = prefixes->GetPrefix(&context, get, &response);
    const absl::Duration age = absl::Now() - pinned;
    if (!status.ok()) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
      EXPECT_GE(age, absl::Milliseconds(1900));
      break;
    }
    ASSERT_LT(age, absl::Seconds(3));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(daemon.Generate(request).reason(), "PREFIX_NOT_FOUND");
  grpc::ClientContext context;
  v1::GetCacheStatsResponse cache;
  ASSERT_TRUE(daemon.admin()->GetCacheStats(&context, {}, &cache).ok());
  EXPECT_EQ(cache.free_pages() + cache.evictable_pages(), cache.total_pages());
}

// Two tenants, each with a token that is its name.
class TenantsFile {
 public:
  TenantsFile() : path_(absl::StrCat(::testing::TempDir(), "/tenants_", getpid(), ".yaml")) {
    std::ofstream file(path_);
    file << "tenants:\n";
    for (const char* name : {"blue", "green"}) {
      file << "  - name: " << name << "\n    token_sha256: " << ToHex(Sha256Of(name)) << "\n";
    }
    file.close();
    chmod(path_.c_str(), 0600);
  }
  ~TenantsFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(SharingTest, NothingIsSharedAcrossTenants) {
  const TenantsFile tenants;
  Daemon daemon({"--tenants-file", tenants.path()});
  const auto ask = [&daemon](const std::string& token, const v1::GenerateRequest& request,
                             Answer* answer) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    const auto reader = daemon.generation()->Generate(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      if (response.has_finished()) answer->finished = response.finished();
    }
    answer->status = reader->Finish();
  };
  Answer stranger, blue, green, digest, again;
  ask("", Ask(kFirst, Picture()), &stranger);
  EXPECT_EQ(stranger.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  ask("blue", Ask(kFirst, Picture()), &blue);
  ASSERT_TRUE(blue.status.ok()) << blue.status.error_message();
  ask("green", NamedByDigest(Ask(kFirst, Picture())), &digest);
  EXPECT_EQ(digest.reason(), "IMAGE_NOT_CACHED");
  ask("green", Ask(kFirst, Picture()), &green);
  ASSERT_TRUE(green.status.ok()) << green.status.error_message();
  EXPECT_EQ(ReceiptOf(green).hit_tokens(), 0);
  EXPECT_EQ(ReceiptOf(green).images_encoded(), 1);
  EXPECT_EQ(ReceiptOf(green).decode_hits(), 0);
  ask("blue", Ask(kFirst, Picture()), &again);
  EXPECT_GT(ReceiptOf(again).hit_tokens(), 0);
  EXPECT_EQ(ReceiptOf(again).images_encoded(), 0);
}

}  // namespace
}  // namespace prefixd::testing
