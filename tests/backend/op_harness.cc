#include "tests/backend/op_harness.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/tensor/half.h"

namespace prefixd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = -24576.0f;  // Exact in every dtype.
// The view starts off any vector boundary.
constexpr int64_t kRowsAround = 2;
constexpr int64_t kColsBefore = 5;
constexpr int64_t kColsAfter = 19;

uint16_t RoundToHalf(DType dtype, float value) {
  return dtype == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value);
}

}  // namespace

HostMatrix HostMatrix::Rows(int64_t begin, int64_t count) const {
  HostMatrix result(count, cols);
  std::copy_n(row(begin), count * cols, result.values.begin());
  return result;
}

HostMatrix RowVector(std::vector<float> values) {
  HostMatrix result;
  result.rows = 1;
  result.cols = static_cast<int64_t>(values.size());
  result.values = std::move(values);
  return result;
}

HostMatrix Absolute(HostMatrix x) {
  for (float& value : x.values) value = std::fabs(value);
  return x;
}

HostMatrix RoundedTo(DType dtype, HostMatrix x) {
  for (float& value : x.values) {
    if (dtype == DType::kBF16) value = BF16ToFloat(FloatToBF16(value));
    if (dtype == DType::kF16) value = F16ToFloat(FloatToF16(value));
  }
  return x;
}

HostMatrix RandomValues::Matrix(int64_t rows, int64_t cols) {
  HostMatrix result(rows, cols);
  for (float& value : result.values) {
    value = static_cast<float>(random_()) * 0x1p-31f - 1.0f;
  }
  return result;
}

std::vector<int32_t> RandomValues::Permutation(int32_t n) {
  std::vector<int32_t> result(n);
  std::iota(result.begin(), result.end(), 0);
  std::shuffle(result.begin(), result.end(), random_);
  return result;
}

void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance,
                const HostMatrix& scale) {
  ASSERT_EQ(actual.rows, expected.rows);
  ASSERT_EQ(actual.cols, expected.cols);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const double bound = tolerance * scale.values[scale.values.size() == 1 ? 0 : i];
    const double error = std::fabs(double{actual.values[i]} - expected.values[i]);
    ASSERT_TRUE(error <= bound) << "row " << i / expected.cols << " column " << i % expected.cols
                                << ": " << actual.values[i] << ", expected " << expected.values[i]
                                << " within " << bound;
  }
}

void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance) {
  ExpectNear(actual, expected, tolerance, HostMatrix(1, 1, 1.0f));
}

void ExpectSameBits(const HostMatrix& actual, const HostMatrix& expected) {
  ASSERT_EQ(actual.rows, expected.rows);
  ASSERT_EQ(actual.cols, expected.cols);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual.values[i]),
              std::bit_cast<uint32_t>(expected.values[i]))
        << "row " << i / expected.cols << " column " << i % expected.cols << ": "
        << actual.values[i] << ", expected " << expected.values[i];
  }
}

GuardedTensor::GuardedTensor(Backend* backend, const HostMatrix& x, float guard)
    : backend_(backend), guard_(guard) {
  const HostMatrix outer(x.rows + 2 * kRowsAround, x.cols + kColsBefore + kColsAfter, guard);
  outer_ = backend->NewTensor(outer.rows, outer.cols).value();
  // The padding behind the rows belongs to the surroundings, too.
  outer_.view.cols = outer_.view.row_stride;
  const HostMatrix everything(outer_.view.rows, outer_.view.cols, guard);
  EXPECT_TRUE(backend->Upload(everything.values, outer_.view).ok());
  view_ = outer_.view.Rows(kRowsAround, x.rows).Cols(kColsBefore, x.cols);
  EXPECT_TRUE(backend->Upload(x.values, view_).ok());
}

GuardedTensor GuardedTensor::Input(Backend* backend, const HostMatrix& x) {
  return GuardedTensor(backend, x, kNan);
}

GuardedTensor GuardedTensor::Output(Backend* backend, const HostMatrix& start) {
  return GuardedTensor(backend, start, kGuard);
}

HostMatrix GuardedTensor::Read() const {
  HostMatrix result(view_.rows, view_.cols);
  EXPECT_TRUE(backend_->Download(view_, absl::MakeSpan(result.values)).ok());
  return result;
}

void GuardedTensor::CheckGuards() const {
  HostMatrix outer(outer_.view.rows, outer_.view.cols);
  ASSERT_TRUE(backend_->Download(outer_.view, absl::MakeSpan(outer.values)).ok());
  for (int64_t t = 0; t < outer.rows; ++t) {
    for (int64_t i = 0; i < outer.cols; ++i) {
      const bool inside = t >= kRowsAround && t < kRowsAround + view_.rows && i >= kColsBefore &&
                          i < kColsBefore + view_.cols;
      if (inside) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(outer.row(t)[i]), std::bit_cast<uint32_t>(guard_))
          << "written outside of the output: row " << t - kRowsAround << " column "
          << i - kColsBefore << " of a view of " << view_.rows << " x " << view_.cols;
    }
  }
}

std::unique_ptr<Backend> BackendUnderTest::Create(int num_threads) const {
  return CreateBackend({.name = name,
                        .cpu_level = level.empty() ? "auto" : level,
                        .num_threads = num_threads,
                        .activation_dtype = activation_dtype})
      .value();
}

void PrintTo(const BackendUnderTest& under_test, std::ostream* os) {
  *os << under_test.name << " " << under_test.level
      << (under_test.rounds_activations() ? " bf16" : "");
}

std::vector<BackendUnderTest> AllBackends() {
  std::vector<BackendUnderTest> all = {{.name = "ref"}};
  for (const std::string& level : SupportedCpuLevels()) {
    all.push_back({.name = "cpu", .level = level});
    if (level == "avx512bf16") {
      all.push_back({.name = "cpu", .level = level, .activation_dtype = DType::kBF16});
    }
  }
  return all;
}

std::unique_ptr<Backend> CreateReference() { return CreateBackend({.name = "ref"}).value(); }

std::unique_ptr<Matrix> MakeWeight(Backend* backend, DType dtype, const HostMatrix& values) {
  auto matrix = backend->CreateMatrix(dtype, values.rows, values.cols).value();
  const size_t element = DTypeSize(dtype);
  std::vector<uint8_t> bytes(values.values.size() * element + 1);
  uint8_t* const start = bytes.data() + 1;  // Files promise no alignment.
  for (size_t i = 0; i < values.values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(start + i * element, &values.values[i], element);
    } else {
      const uint16_t half = RoundToHalf(dtype, values.values[i]);
      std::memcpy(start + i * element, &half, element);
    }
  }
  const int64_t first = values.rows / 3;
  const size_t row_bytes = values.cols * element;
  const auto write = [&](int64_t begin, int64_t count) {
    EXPECT_TRUE(
        backend
            ->WriteMatrixRows(begin, {start + begin * row_bytes, count * row_bytes}, matrix.get())
            .ok());
  };
  write(first, values.rows - first);
  write(0, first);
  return matrix;
}

HostMatrix RunOp(Backend* backend, int64_t rows, int64_t cols,
                 const std::function<absl::Status(const Tensor& y)>& op) {
  return RunOpOn(backend, HostMatrix(rows, cols, kNan), op);
}

HostMatrix RunOpOn(Backend* backend, const HostMatrix& start,
                   const std::function<absl::Status(const Tensor& y)>& op) {
  const GuardedTensor y = GuardedTensor::Output(backend, start);
  const absl::Status status = op(y.view());
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(backend->Synchronize().ok());
  y.CheckGuards();
  return y.Read();
}

void ExpectRowsStandAlone(
    const BackendUnderTest& under_test, int64_t rows,
    const std::function<HostMatrix(Backend* backend, int64_t begin, int64_t count)>& run) {
  const std::unique_ptr<Backend> backend = under_test.Create(1);
  const HostMatrix whole = run(backend.get(), 0, rows);
  for (const int64_t chunk : {1, 7, 33}) {
    SCOPED_TRACE(::testing::Message() << "chunks of " << chunk);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t count = std::min(chunk, rows - begin);
      ExpectSameBits(run(backend.get(), begin, count), whole.Rows(begin, count));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  for (const int threads : {2, 3}) {
    SCOPED_TRACE(::testing::Message() << threads << " threads");
    ExpectSameBits(run(under_test.Create(threads).get(), 0, rows), whole);
  }
}

}  // namespace prefixd
