// Files of torch.save (tests/golden/make/torch_files.py), and files that are broken or hostile.
#include "engine/weights/torch_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "tests/weights/files.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryDirectory;

const std::string kGolden = PREFIXD_SOURCE_DIR "/tests/golden/torch/";

std::string Contents(const std::string& name) { return *ReadFile(kGolden + name, 1 << 20); }

// Reads a tensor in pieces that do not end where rows do.
std::string Elements(const TorchArchive& archive, const TorchTensor& tensor, uint64_t size) {
  std::string bytes(tensor.info.size_bytes, '\0');
  const uint64_t count = tensor.info.size_bytes / size;
  for (uint64_t first = 0; first < count;) {
    const uint64_t piece = std::min<uint64_t>(count - first, 5);
    const absl::Status status = archive.Read(
        tensor, first,
        absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()) + first * size, piece * size));
    EXPECT_TRUE(status.ok()) << status;
    first += piece;
  }
  return bytes;
}

uint64_t ElementBytes(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  return dtype == "F16" || dtype == "BF16" || dtype == "I16" ? 2 : 1;
}

TEST(TorchArchive, ReadsWhatTorchWrites) {
  const auto files = ReadJsonFile(kGolden + "files.json", 1 << 20);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 4u);
  for (const auto& [file, expected] : files->items()) {
    SCOPED_TRACE(file);
    const auto archive = TorchArchive::Open(kGolden + file);
    ASSERT_TRUE(archive.ok()) << archive.status();
    EXPECT_EQ(archive->tensors().size(), expected.size());
    for (const auto& [name, tensor] : archive->tensors()) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(expected.contains(name));
      const auto& wanted = expected[name];
      EXPECT_EQ(tensor.info.dtype, wanted["dtype"].get<std::string>());
      EXPECT_EQ(tensor.info.shape, wanted["shape"].get<std::vector<int64_t>>());
      Sha256 hash;
      hash.Update(absl::string_view(Elements(*archive, tensor, ElementBytes(tensor.info.dtype))));
      EXPECT_EQ(ToHex(hash.Finish()), wanted["sha256"].get<std::string>());
    }
  }
}

TEST(TorchArchive, KnowsWhichTensorsAreScattered) {
  const auto archive = TorchArchive::Open(kGolden + "plain.pt");
  ASSERT_TRUE(archive.ok());
  for (const char* name : {"transposed", "columns", "every_other", "permuted"}) {
    EXPECT_FALSE(archive->tensors().at(name).is_contiguous) << name;
  }
  for (const char* name : {"f32", "view", "scalar", "empty", "parameter"}) {
    EXPECT_TRUE(archive->tensors().at(name).is_contiguous) << name;
  }
}

TEST(TorchArchive, RefusesByName) {
  const struct {
    const char *file, *message;
  } kCases[] = {
      {"legacy.pt", "before PyTorch 1.6"},
      {"compressed.pt", "is compressed or encrypted (method 8)"},
      {"evil_system.pt", "global posix.system"},
      {"evil_eval.pt", "global __builtin__.eval"},
      {"evil_numpy.pt", "global numpy"},
      {"evil_module.pt", "global torch.nn.modules.linear.Linear"},
  };
  for (const auto& bad : kCases) {
    const absl::Status status = TorchArchive::Open(kGolden + bad.file).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << bad.file;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.file));
  }
}

class TorchFile : public ::testing::Test {
 protected:
  absl::StatusOr<TorchArchive> Open(const std::string& bytes) {
    directory_.Write("x.pt", bytes);
    return TorchArchive::Open(directory_.File("x.pt"));
  }
  void ExpectInvalid(const std::string& bytes, const char* message) {
    const absl::Status status = Open(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  TemporaryDirectory directory_;
};

void Put(std::string* bytes, size_t at, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) (*bytes)[at + i] = static_cast<char>(value >> (8 * i));
}

// Where the n-th record of the directory begins.
size_t RecordAt(const std::string& bytes, int n) {
  size_t at = std::string::npos;
  for (int i = 0; i <= n; ++i) at = bytes.find("PK\x01\x02", at + 1);
  return at;
}

TEST_F(TorchFile, RefusesEveryTruncation) {
  for (const char* name : {"plain.pt", "training.pt"}) {
    const std::string whole = Contents(name);
    for (size_t size = 0; size < whole.size(); size += 64) {
      EXPECT_FALSE(Open(whole.substr(0, size)).ok()) << name << " " << size;
    }
    EXPECT_FALSE(Open(whole.substr(0, whole.size() - 1)).ok());
  }
}

TEST_F(TorchFile, RefusesEntriesThatShareBytes) {
  std::string bytes = Contents("protocol4.pt");
  const size_t first = RecordAt(bytes, 0), second = RecordAt(bytes, 1);
  ASSERT_NE(second, std::string::npos);
  // The first entry grows into the second.
  const uint32_t grown =
      4 + static_cast<uint8_t>(bytes[second + 42]) + 256 * static_cast<uint8_t>(bytes[second + 43]);
  Put(&bytes, first + 20, grown, 4);
  Put(&bytes, first + 24, grown, 4);
  ExpectInvalid(bytes, "overlaps the entry before it");
  // Two records of one entry.
  bytes = Contents("protocol4.pt");
  bytes.replace(second + 42, 4, bytes.substr(first + 42, 4));
  ExpectInvalid(bytes, "local header says something else");
}

TEST_F(TorchFile, RefusesSizesBeyondTheFile) {
  const std::string whole = Contents("protocol4.pt");
  const size_t record = RecordAt(whole, 0), end = whole.rfind("PK\x05\x06");
  const auto with = [&](size_t at, uint64_t value, size_t size) {
    std::string bytes = whole;
    Put(&bytes, at, value, size);
    return bytes;
  };
  std::string bytes = with(record + 20, 0xfffffff0, 4);
  ExpectInvalid(bytes, "stored in 4294967280 bytes, but its size is");
  Put(&bytes, record + 24, 0xfffffff0, 4);
  ExpectInvalid(bytes, "reach into the directory");
  ExpectInvalid(with(record + 42, 0xfffffff0, 4), "begins at byte 4294967280");
  ExpectInvalid(with(record + 42, 0xffffffff, 4), "zip64 sizes are missing");
  ExpectInvalid(with(end + 10, 60000, 2), "60000 entries");
  ExpectInvalid(with(end + 12, 0x7fffffff, 4), "bytes");
  ExpectInvalid(with(end + 16, 0x7fffffff, 4), "lie outside the file's");
  // What does not fit is in the zip64 end, which torch always writes.
  bytes = with(end + 10, 0xffff, 2);
  EXPECT_TRUE(Open(bytes).ok());
  Put(&bytes, end - 20, 0, 4);
  ExpectInvalid(bytes, "the end of a zip64 directory is missing");
  bytes = with(end + 10, 0xffff, 2);
  Put(&bytes, end - 20 + 8, 0x7fffffff, 4);
  ExpectInvalid(bytes, "lie outside the file's");
}

// Entries of 4 GiB and more have their sizes in an extra field; so may smaller ones.
TEST_F(TorchFile, ReadsSizesOfZip64) {
  std::string bytes = Contents("protocol4.pt");
  const size_t record = RecordAt(bytes, 0);
  const auto number = [&](size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
    }
    return value;
  };
  std::string extra("\x01\x00\x18\x00", 4);
  for (const size_t at : {24, 20, 42}) {  // Size, stored size, header.
    extra += testing::LittleEndian(number(record + at, 4));
    Put(&bytes, record + at, 0xffffffff, 4);
  }
  const size_t extra_bytes = number(record + 30, 2);
  Put(&bytes, record + 30, extra_bytes + extra.size(), 2);
  bytes.insert(record + 46 + number(record + 28, 2) + extra_bytes, extra);
  const size_t end = bytes.rfind("PK\x05\x06");
  Put(&bytes, end + 12, number(end + 12, 4) + extra.size(), 4);
  const auto archive = Open(bytes);
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_EQ(archive->tensors().size(),
            TorchArchive::Open(kGolden + "protocol4.pt")->tensors().size());
  // One of the three is missing.
  Put(&bytes, record + 46 + number(record + 28, 2) + extra_bytes + 2, 16, 2);
  ExpectInvalid(bytes, "zip64 sizes are missing");
}

// A change of a byte is refused, or else everything that is named lies in the file.
TEST_F(TorchFile, MutationsAreRefusedOrReadable) {
  const char* rounds_text = std::getenv("PREFIXD_MUTATIONS");
  const int rounds = rounds_text != nullptr ? std::atoi(rounds_text) : 3000;
  std::mt19937_64 random(20261126);
  int accepted = 0;
  for (const char* name : {"plain.pt", "training.pt", "protocol5.pt"}) {
    const std::string whole = Contents(name);
    // Data of small tensors is little of these files; the pickle and the directory are the rest.
    for (int round = 0; round < rounds / 3; ++round) {
      std::string bytes = whole;
      const int edits = 1 + static_cast<int>(random() % 3);
      for (int i = 0; i < edits; ++i) {
        const size_t at = random() % bytes.size();
        switch (random() % 4) {
          case 0:
            bytes[at] = static_cast<char>(random());
            break;
          case 1:
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
            break;
          case 2:
            bytes[at] = "\x00\xff\x7f\x80RbcQute.(h"[random() % 15];
            break;
          default:
            if (at + 4 <= bytes.size()) Put(&bytes, at, random() >> (random() % 64), 4);
        }
      }
      const auto archive = Open(bytes);
      if (!archive.ok()) continue;
      ++accepted;
      for (const auto& [key, tensor] : archive->tensors()) {
        Elements(*archive, tensor, ElementBytes(tensor.info.dtype));
      }
    }
  }
  EXPECT_GT(accepted, rounds / 100);
  EXPECT_LT(accepted, rounds);
}

}  // namespace
}  // namespace prefixd
