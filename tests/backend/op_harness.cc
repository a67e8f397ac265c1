#include "tests/backend/op_harness.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/tensor/half.h"
#include "tests/backend/rounded_reference.h"

namespace prefixd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = -24576.0f;  // Exact in every dtype.
constexpr int64_t kRowsAround = 2;
constexpr int64_t kColsAfter = 19;

// The view starts off any vector boundary; 16-bit ones of even width at a multiple of 16 bytes,
// since backends may take other ways then.
int64_t ColsBefore(DType dtype, int64_t cols) {
  return DTypeSize(dtype) == 2 && cols % 2 == 0 ? 8 : 5;
}

uint16_t RoundToHalf(DType dtype, float value) {
  return dtype == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value);
}

OwnedTensor NewTensorFor(TensorUse use, int64_t rows, int64_t cols, Backend* backend) {
  if (use == TensorUse::kScores) return backend->NewScores(rows, cols).value();
  if (use == TensorUse::kAngles) return backend->NewAngles(rows, cols).value();
  return backend->NewTensor(rows, cols).value();
}

double least_tolerance = 0;

}  // namespace

LeastTolerance::LeastTolerance(double tolerance) { least_tolerance = tolerance; }
LeastTolerance::~LeastTolerance() { least_tolerance = 0; }
double LeastTolerance::Get() { return least_tolerance; }

void ExpectNearValue(double actual, double expected, double tolerance) {
  EXPECT_NEAR(actual, expected, std::max(tolerance, least_tolerance * std::fabs(expected)));
}

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
                const HostMatrix& scale, RelativeTo relative_to) {
  ASSERT_EQ(actual.rows, expected.rows);
  ASSERT_EQ(actual.cols, expected.cols);
  std::vector<double> largest(static_cast<size_t>(expected.rows));  // Of each row.
  for (size_t i = 0; i < expected.values.size(); ++i) {
    double& most = largest[i / expected.cols];
    most = std::max(most, std::fabs(double{expected.values[i]}));
  }
  if (relative_to == RelativeTo::kMatrix && expected.rows > 0) {
    largest.assign(largest.size(), *std::max_element(largest.begin(), largest.end()));
  }
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const double bound = std::max(tolerance * scale.values[scale.values.size() == 1 ? 0 : i],
                                  LeastTolerance::Get() * largest[i / expected.cols]);
    const double error = std::fabs(double{actual.values[i]} - expected.values[i]);
    ASSERT_TRUE(error <= bound) << "row " << i / expected.cols << " column " << i % expected.cols
                                << ": " << actual.values[i] << ", expected " << expected.values[i]
                                << " within " << bound;
  }
}

void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance,
                RelativeTo relative_to) {
  ExpectNear(actual, expected, tolerance, HostMatrix(1, 1, 1.0f), relative_to);
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

GuardedTensor::GuardedTensor(Backend* backend, const HostMatrix& x, float guard, TensorUse use)
    : backend_(backend), guard_(guard) {
  outer_ = NewTensorFor(use, x.rows + 2 * kRowsAround, x.cols + 8 + kColsAfter, backend);
  cols_before_ = ColsBefore(outer_.view.dtype, x.cols);
  // The padding behind the rows belongs to the surroundings, too.
  outer_.view.cols = outer_.view.row_stride;
  const HostMatrix everything(outer_.view.rows, outer_.view.cols, guard);
  EXPECT_TRUE(backend->Upload(everything.values, outer_.view).ok());
  view_ = outer_.view.Rows(kRowsAround, x.rows).Cols(cols_before_, x.cols);
  EXPECT_TRUE(backend->Upload(x.values, view_).ok());
}

GuardedTensor GuardedTensor::Input(Backend* backend, const HostMatrix& x) {
  return GuardedTensor(backend, x, kNan, TensorUse::kActivations);
}

GuardedTensor GuardedTensor::Output(Backend* backend, const HostMatrix& start, TensorUse use) {
  return GuardedTensor(backend, start, kGuard, use);
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
      const bool inside = t >= kRowsAround && t < kRowsAround + view_.rows && i >= cols_before_ &&
                          i < cols_before_ + view_.cols;
      if (inside) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(outer.row(t)[i]), std::bit_cast<uint32_t>(guard_))
          << "written outside of the output: row " << t - kRowsAround << " column "
          << i - cols_before_ << " of a view of " << view_.rows << " x " << view_.cols;
    }
  }
}

std::unique_ptr<Backend> BackendUnderTest::Create(int num_threads) const {
  if (create != nullptr) return create();
  return CreateBackend({.name = name,
                        .cpu_level = level.empty() ? "auto" : level,
                        .num_threads = num_threads,
                        .activation_dtype = activation_dtype})
      .value();
}

std::unique_ptr<Backend> BackendUnderTest::CreateReference() const {
  std::unique_ptr<Backend> reference = prefixd::CreateReference();
  if (tensor_dtype == DType::kF32) return reference;
  return MakeRoundedReference(tensor_dtype, std::move(reference));
}

std::string BackendUnderTest::test_name() const {
  return name + level + label + (rounds_activations() ? "rounding" : "");
}

std::vector<int32_t> BackendUnderTest::Sizes(std::vector<int32_t> all) const {
  if (slow) std::erase_if(all, [](int32_t size) { return size > 300; });
  return Cases(std::move(all));
}

void PrintTo(const BackendUnderTest& under_test, std::ostream* os) {
  *os << under_test.test_name();
}

std::unique_ptr<KvPool> MakePool(Backend* backend, KvPoolShape shape) {
  auto pool = backend->CreateKvPool(shape);
  if (absl::IsInvalidArgument(pool.status())) {
    shape.dtype = backend->info().default_kv_dtype;
    pool = backend->CreateKvPool(shape);
  }
  return std::move(pool).value();
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
                 const std::function<absl::Status(const Tensor& y)>& op, TensorUse use) {
  return RunOpOn(backend, HostMatrix(rows, cols, kNan), op, use);
}

HostMatrix RunOpOn(Backend* backend, const HostMatrix& start,
                   const std::function<absl::Status(const Tensor& y)>& op, TensorUse use) {
  const GuardedTensor y = GuardedTensor::Output(backend, start, use);
  const absl::Status status = op(y.view());
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(backend->Synchronize().ok());
  y.CheckGuards();
  return y.Read();
}

void ExpectRowsStandAlone(
    const BackendUnderTest& under_test, int64_t rows,
    const std::function<HostMatrix(Backend* backend, int64_t begin, int64_t count)>& run) {
  if (!under_test.exact) return;
  const std::unique_ptr<Backend> backend = under_test.Create(1);
  const HostMatrix whole = run(backend.get(), 0, rows);
  for (const int32_t chunk : {1, 7, 33}) {
    SCOPED_TRACE(::testing::Message() << "chunks of " << chunk);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t count = std::min<int64_t>(chunk, rows - begin);
      ExpectSameBits(run(backend.get(), begin, count), whole.Rows(begin, count));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  for (const int threads : under_test.Threads({2, 3})) {
    SCOPED_TRACE(::testing::Message() << threads << " threads");
    ExpectSameBits(run(under_test.Create(threads).get(), 0, rows), whole);
  }
}

}  // namespace prefixd
