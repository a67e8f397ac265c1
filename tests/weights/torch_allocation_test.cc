// What the reader of torch.save takes from the heap, whatever a file claims. Counts the live bytes
// of this whole program.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "engine/weights/pickle.h"
#include "engine/weights/torch_archive.h"
#include "tests/counted_heap.h"
#include "tests/weights/files.h"

namespace prefixd {
namespace {

int64_t PeakOf(const std::string& pickle) {
  const int64_t before = live_bytes;
  peak_bytes = live_bytes;
  { const auto tensors = ReadPickledTensors(pickle); }
  return peak_bytes - before;
}

// What is known of a tensor takes about 2 KiB while it is found out, whatever it holds.
TEST(TorchAllocation, OfMutatedFilesStaysBelowTwiceTheirSizeAndTheirTensors) {
  constexpr int64_t kTensors = 18, kBytesPerTensor = 2048, kSlack = 4096;
  const std::string whole = *ReadFile(PREFIXD_SOURCE_DIR "/tests/golden/torch/plain.pt", 1 << 20);
  const testing::TemporaryDirectory directory;
  std::mt19937_64 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 2 && round > 0; ++i) {
      const size_t at = random() % (bytes.size() - 4);
      for (int k = 0; k < 4; ++k) bytes[at + k] = static_cast<char>(random() % 2 ? 0xff : random());
    }
    directory.Write("x.pt", bytes);
    const int64_t before = live_bytes;
    peak_bytes = live_bytes;
    { const auto archive = TorchArchive::Open(directory.File("x.pt")); }
    EXPECT_LE(peak_bytes - before,
              2 * static_cast<int64_t>(bytes.size()) + kTensors * kBytesPerTensor + kSlack)
        << round;
  }
}

// Nothing costs more than the limit on values, about 100 bytes each while tables double.
TEST(TorchAllocation, OfPicklesOfValuesIsBounded) {
  constexpr int64_t kMost = 256 * int64_t{kMaxPickleValues};
  for (const char* unit : {"N", "]", "}", ")", "N\x85", "(", "]q\x01", "Nr\xff\xff\xff\x7f"}) {
    std::string pickle = "\x80\x02";
    while (pickle.size() < (8 << 20)) pickle += unit;
    EXPECT_LE(PeakOf(pickle), kMost) << unit;
  }
}

TEST(TorchAllocation, OfLongClaimsIsNone) {
  for (const std::string& claim :
       {std::string("X\xff\xff\xff\x7f", 5), std::string("\x8d\xff\xff\xff\xff\xff\xff\x7f", 8),
        std::string("\x95\xff\xff\xff\xff\xff\xff\xff\x7f", 9)}) {
    EXPECT_LE(PeakOf(absl::StrCat("\x80\x02", claim)), 4096);
  }
}

}  // namespace
}  // namespace prefixd
