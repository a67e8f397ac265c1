// The guards of the suite notice what they are there for.
#include "tests/backend/op_harness.h"

#include <cmath>

#include <gtest/gtest-spi.h>

namespace prefixd {
namespace {

// A view of `y` moved by whole elements, as an op with a wrong index would write.
Tensor Moved(Tensor y, int64_t elements) {
  y.data += elements * static_cast<int64_t>(DTypeSize(y.dtype));
  return y;
}

TEST(OpHarness, NoticesWritesAroundAnOutput) {
  const auto backend = CreateReference();
  const Tensor wide = GuardedTensor::Output(backend.get(), HostMatrix(2, 4)).view();
  for (const int64_t elements : {int64_t{-1}, int64_t{1}, -wide.row_stride, wide.row_stride}) {
    const GuardedTensor y = GuardedTensor::Output(backend.get(), HostMatrix(2, 4));
    static const GuardedTensor* checked;  // What the macro below can name.
    checked = &y;
    y.CheckGuards();
    ASSERT_TRUE(backend->Upload(HostMatrix(2, 4, 7.0f).values, Moved(y.view(), elements)).ok());
    EXPECT_FATAL_FAILURE(checked->CheckGuards(), "written outside of the output");
  }
}

TEST(OpHarness, NoticesReadsBeyondAnInput) {
  const auto backend = CreateReference();
  const GuardedTensor x = GuardedTensor::Input(backend.get(), HostMatrix(2, 4, 1.0f));
  for (const int64_t elements : {-1, 1}) {
    HostMatrix read(2, 4);
    ASSERT_TRUE(backend->Download(Moved(x.view(), elements), absl::MakeSpan(read.values)).ok());
    EXPECT_TRUE(std::isnan(elements < 0 ? read.row(0)[0] : read.row(0)[3]));
  }
}

TEST(OpHarness, TakesNanForAWrongResult) {
  static const HostMatrix nan = RowVector({NAN});
  static const HostMatrix one = RowVector({1.0f});
  EXPECT_FATAL_FAILURE(ExpectNear(nan, one, 1e6), "expected 1");
}

}  // namespace
}  // namespace prefixd
