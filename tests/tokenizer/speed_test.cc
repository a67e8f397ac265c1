// Time stays near linear on texts that make naive tokenizers quadratic. The bound is 200 ms of CPU
// for 1 MiB; a busy machine gets room, a build with checks a shorter text.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr double kMaxSeconds = 5;
constexpr size_t kTextBytes = size_t{1} << 16;
#else
constexpr double kMaxSeconds = 1;
constexpr size_t kTextBytes = size_t{1} << 20;
#endif

std::string Repeated(const std::string& text) {
  std::string repeated;
  while (repeated.size() + text.size() <= kTextBytes) repeated += text;
  return repeated;
}

class HostileText : public testing::TestWithParam<const char*> {};

TEST_P(HostileText, IsEncodedInBoundedTime) {
  const auto tokenizer = LoadGolden(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  double slowest = 0;
  for (const char* unit : {"a", " ", "\n", "<", "the", "<image>", "1", "'", "\xCC\x81",
                           "\xCC\x81\xCC\xA3", "\xF0\x9F\x91\xA8\xE2\x80\x8D", " a"}) {
    const std::string text = Repeated(unit);
    const std::clock_t begin = std::clock();
    const auto ids = tokenizer->Encode({{text, false}}, true);
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_LT(seconds, kMaxSeconds) << unit;
    slowest = std::max(slowest, seconds);
  }
  std::printf("%s: slowest %zu KiB: %.0f ms of CPU\n", GetParam(), kTextBytes >> 10, slowest * 1e3);
}

INSTANTIATE_TEST_SUITE_P(Families, HostileText,
                         testing::Values("demo", "gemma", "smollm2", "llama3", "neox_nfc",
                                         "pieces_llama", "pieces_gemma", "pieces_trimmed"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace prefixd
