// Panels of weights in blocks: what they hold, and how large they are.
#include <vector>

#include "engine/backend/cpu/matrix.h"
#include "engine/backend/cpu/thread_pool.h"
#include "gtest/gtest.h"
#include "tests/backend/block_weights.h"

namespace prefixd {
namespace {

TEST(BlockPanel, IsAboutAsLargeAsTheFile) {
  for (const DType dtype : kBlockTypes) {
    const auto matrix = cpu::PanelMatrix::Create(dtype, 640, 1024).value();
    const double bytes = static_cast<double>(matrix->num_panels() * matrix->panel_bytes());
    const double file_bytes = 640.0 * static_cast<double>(RowBytes(dtype, 1024));
    EXPECT_GE(bytes, file_bytes) << DTypeName(dtype);
    EXPECT_LE(bytes, 1.03 * file_bytes) << DTypeName(dtype);
  }
}

TEST(BlockPanel, ReadsBackWhatWasWrittenInPieces) {
  ThreadPool pool(2);
  for (const DType dtype : kBlockTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const BlockWeights weights = RandomBlocks(1, dtype, 150, 512);
    const auto matrix = cpu::PanelMatrix::Create(dtype, 150, 512).value();
    const int64_t row_bytes = RowBytes(dtype, 512);
    for (const int64_t begin : {100, 0, 50}) {
      matrix->WriteRows(
          begin, {weights.bytes.data() + begin * row_bytes, static_cast<size_t>(50 * row_bytes)},
          &pool);
    }
    for (int64_t row = 0; row < 150; ++row) {
      HostMatrix y(1, 512);
      matrix->ReadRow(row, y.row(0));
      ExpectSameBits(y, weights.values.Rows(row, 1));
    }
  }
}

}  // namespace
}  // namespace prefixd
