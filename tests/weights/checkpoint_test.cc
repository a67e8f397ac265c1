#include "engine/weights/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/weights/files.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

// One tensor of four bytes.
std::string Shard(const std::string& tensor) {
  return Safetensors(
      absl::StrCat("{\"", tensor, R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})"), 4);
}

std::string Index(const std::string& weight_map) {
  return absl::StrCat(R"({"metadata":{"total_size":8},"weight_map":)", weight_map, "}");
}

void ExpectRefused(const std::string& directory, absl::StatusCode code, const char* message) {
  const auto checkpoint = Checkpoint::Open(directory);
  EXPECT_EQ(checkpoint.status().code(), code);
  EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr(message));
}

TEST(Checkpoint, ReadsPiecesOfASingleFile) {
  const TemporaryDirectory directory;
  directory.Write("model.safetensors", Shard("t"));
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<uint8_t> bytes(2);
  ASSERT_TRUE(checkpoint->Read(checkpoint->tensors().at("t"), 1, absl::MakeSpan(bytes)).ok());
  EXPECT_EQ(bytes, (std::vector<uint8_t>{1, 2}));
  EXPECT_TRUE(checkpoint->CheckUnchanged().ok());
}

TEST(Checkpoint, ReadsShards) {
  const TemporaryDirectory directory;
  directory.Write("one.safetensors", Shard("a"));
  directory.Write("two.safetensors", Shard("b"));
  directory.Write("model.safetensors.index.json",
                  Index(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->file_path(checkpoint->tensors().at("b")),
            directory.File("two.safetensors"));
}

TEST(Checkpoint, PrefersTheSingleFileToTheIndex) {
  const TemporaryDirectory directory;
  directory.Write("model.safetensors", Shard("single"));
  directory.Write("model.safetensors.index.json", "not even JSON");
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(checkpoint->tensors().contains("single"));
}

TEST(Checkpoint, IgnoresATensorThatTheIndexDoesNotName) {
  const TemporaryDirectory directory;
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  directory.Write("one.safetensors", Safetensors(header, 8));
  directory.Write("model.safetensors.index.json", Index(R"({"a":"one.safetensors"})"));
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(checkpoint->tensors().contains("a"));
  EXPECT_FALSE(checkpoint->tensors().contains("x"));
}

TEST(Checkpoint, RefusesABadIndex) {
  std::string many = "{";
  for (int i = 0; i < 5000; ++i) {
    absl::StrAppend(&many, i == 0 ? "" : ",", "\"", i, "\":\"", i, ".safetensors\"");
  }
  struct Case {
    const char* name;
    std::string index, message;
  };
  const Case kCases[] = {
      {"absolute path", Index(R"({"a":"/etc/passwd"})"), "is not a plain file name"},
      {"parent", Index(R"({"a":"../one.safetensors"})"), "is not a plain file name"},
      {"dots", Index(R"({"a":".."})"), "is not a plain file name"},
      {"empty name", Index(R"({"a":""})"), "is not a plain file name"},
      {"number", Index(R"({"a":1})"), "no string"},
      {"no map", R"({"metadata":{}})", "weight_map is missing"},
      {"empty map", Index("{}"), "weight_map is empty"},
      {"duplicate tensor", Index(R"({"a":"one.safetensors","a":"two.safetensors"})"),
       "duplicate key"},
      {"tensor not in its shard", Index(R"({"a":"one.safetensors","q":"one.safetensors"})"),
       "tensor \"q\" is missing"},
      {"tensor in the other shard", Index(R"({"a":"two.safetensors","b":"one.safetensors"})"),
       "is missing, the index says"},
      {"too many shards", Index(many + "}"), "5000 shards, the limit is 4096"},
  };
  const TemporaryDirectory directory;
  directory.Write("one.safetensors", Shard("a"));
  directory.Write("two.safetensors", Shard("b"));
  for (const Case& bad : kCases) {
    SCOPED_TRACE(bad.name);
    directory.Write("model.safetensors.index.json", bad.index);
    ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument, bad.message.c_str());
  }
}

TEST(Checkpoint, RefusesAMissingShard) {
  const TemporaryDirectory directory;
  directory.Write("one.safetensors", Shard("a"));
  directory.Write("model.safetensors.index.json",
                  Index(R"({"a":"one.safetensors","b":"gone.safetensors"})"));
  ExpectRefused(directory.path(), absl::StatusCode::kNotFound, "gone.safetensors");
}

TEST(Checkpoint, RefusesATensorInTwoShards) {
  const TemporaryDirectory directory;
  const std::string both =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  directory.Write("one.safetensors", Shard("a"));
  directory.Write("two.safetensors", Safetensors(both, 8));
  directory.Write("model.safetensors.index.json",
                  Index(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument, "tensor \"a\" is also in");
}

TEST(Checkpoint, RefusesASymbolicLinkThatLeavesTheDirectory) {
  const TemporaryDirectory outside, directory;
  outside.Write("model.safetensors", Shard("t"));
  std::filesystem::create_symlink(outside.File("model.safetensors"),
                                  directory.File("model.safetensors"));
  ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument,
                "a symbolic link that leaves the model directory");
}

TEST(Checkpoint, FollowsASymbolicLinkInsideTheDirectory) {
  const TemporaryDirectory directory;
  directory.Write("weights", Shard("t"));
  std::filesystem::create_symlink("weights", directory.File("model.safetensors"));
  EXPECT_TRUE(Checkpoint::Open(directory.path()).ok());
}

TEST(Checkpoint, RefusesWhatIsNoRegularFile) {
  {
    const TemporaryDirectory directory;
    std::filesystem::create_directory(directory.File("model.safetensors"));
    ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument, "not a regular file");
  }
  {
    const TemporaryDirectory directory;
    ASSERT_EQ(::mkfifo(directory.File("model.safetensors").c_str(), 0600), 0);
    ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument, "not a regular file");
  }
  {
    const TemporaryDirectory directory;
    std::filesystem::create_symlink("/dev/zero", directory.File("model.safetensors"));
    ExpectRefused(directory.path(), absl::StatusCode::kInvalidArgument, "symbolic link");
  }
}

TEST(Checkpoint, NeverOpensPickleFiles) {
  for (const char* name : {"pytorch_model.bin", "model.pt", "model.pth"}) {
    SCOPED_TRACE(name);
    const TemporaryDirectory directory;
    // A read would move the access time, which lies before the time of modification.
    directory.Write(name, "pickle");
    struct stat before, after;
    const timespec kLongAgo[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 2000, .tv_nsec = 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, directory.File(name).c_str(), kLongAgo, 0), 0);
    ASSERT_EQ(::stat(directory.File(name).c_str(), &before), 0);
    ExpectRefused(directory.path(), absl::StatusCode::kUnimplemented, "unsupported");
    ASSERT_EQ(::stat(directory.File(name).c_str(), &after), 0);
    EXPECT_EQ(before.st_atim.tv_sec, after.st_atim.tv_sec);
  }
}

TEST(Checkpoint, SaysThatThereAreNoWeights) {
  const TemporaryDirectory directory;
  ExpectRefused(directory.path(), absl::StatusCode::kNotFound, "neither model.safetensors nor");
}

TEST(Checkpoint, NoticesAFileThatIsCutWhileItIsRead) {
  const TemporaryDirectory directory;
  directory.Write("model.safetensors", Shard("t"));
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const TensorInfo& tensor = checkpoint->tensors().at("t");
  std::filesystem::resize_file(directory.File("model.safetensors"), tensor.begin + 2);
  std::vector<uint8_t> bytes(4);
  EXPECT_EQ(checkpoint->Read(tensor, 0, absl::MakeSpan(bytes)).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(checkpoint->CheckUnchanged().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace prefixd::testing
