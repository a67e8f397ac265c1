// Runs one op of one backend on host matrices. Every operand is a view into a larger matrix: what
// surrounds an input is NaN, what surrounds an output is checked afterwards, and an output that the
// op does not read starts as NaN. So an op that reads or writes beyond its rows fails its test.
#ifndef PREFIXD_TESTS_BACKEND_OP_HARNESS_H_
#define PREFIXD_TESTS_BACKEND_OP_HARNESS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd {

// A dense row-major matrix in host memory.
struct HostMatrix {
  HostMatrix() = default;
  HostMatrix(int64_t num_rows, int64_t num_cols, float fill = 0)
      : rows(num_rows), cols(num_cols), values(num_rows * num_cols, fill) {}

  float* row(int64_t t) { return values.data() + t * cols; }
  const float* row(int64_t t) const { return values.data() + t * cols; }
  HostMatrix Rows(int64_t begin, int64_t count) const;

  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;
};

// A matrix of one row.
HostMatrix RowVector(std::vector<float> values);
HostMatrix Absolute(HostMatrix x);
// Every value rounded to `dtype`.
HostMatrix RoundedTo(DType dtype, HostMatrix x);

// Uniform values in [-1, 1) from a fixed seed.
class RandomValues {
 public:
  explicit RandomValues(uint32_t seed) : random_(seed) {}
  HostMatrix Matrix(int64_t rows, int64_t cols);
  // 0, 1, ..., n - 1 in random order.
  std::vector<int32_t> Permutation(int32_t n);

 private:
  std::mt19937 random_;
};

// |actual - expected| <= tolerance * scale for every element; `scale` may be one number for all.
// Backends with a `tolerance` of their own are allowed that share of the largest expected value of
// the row, or with kMatrix of all rows, too.
enum class RelativeTo { kRow, kMatrix };
void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance,
                const HostMatrix& scale, RelativeTo relative_to = RelativeTo::kRow);
void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance,
                RelativeTo relative_to = RelativeTo::kRow);
void ExpectSameBits(const HostMatrix& actual, const HostMatrix& expected);

// What a tensor is for: the backend chooses its dtype.
enum class TensorUse { kActivations, kScores, kAngles };

// A view inside a poisoned matrix.
class GuardedTensor {
 public:
  // Holds `x`; all around is NaN.
  static GuardedTensor Input(Backend* backend, const HostMatrix& x);
  // Holds `start`; all around is a value that CheckGuards looks for.
  static GuardedTensor Output(Backend* backend, const HostMatrix& start,
                              TensorUse use = TensorUse::kActivations);

  const Tensor& view() const { return view_; }
  HostMatrix Read() const;
  void CheckGuards() const;

 private:
  GuardedTensor(Backend* backend, const HostMatrix& x, float guard, TensorUse use);

  Backend* backend_;
  float guard_;
  int64_t cols_before_ = 0;  // Of the view.
  OwnedTensor outer_;
  Tensor view_;
};

// One of the backends under test.
struct BackendUnderTest {
  std::string name;
  std::string level;
  DType activation_dtype = DType::kF32;

  // Of backends that CreateBackend does not make; `label` tells them apart.
  std::string label;
  std::function<std::unique_ptr<Backend>()> create;
  DType tensor_dtype = DType::kF32;  // What Upload rounds to.
  std::vector<DType> kv_dtypes = {DType::kF32, DType::kBF16};
  double tolerance = 0;  // The least that is allowed, relative.
  bool exact = true;     // A row's bits depend on that row alone.
  bool slow = false;     // A few sizes have to do.

  std::unique_ptr<Backend> Create(int num_threads) const;
  // The reference, whose Upload and WriteMatrixRows round as those of this backend do.
  std::unique_ptr<Backend> CreateReference() const;
  // Whether products round their input to bf16.
  bool rounds_activations() const { return create == nullptr && activation_dtype == DType::kBF16; }
  std::string test_name() const;

  // Sizes and cases to test; of a slow backend at most three, and none above 300.
  std::vector<int32_t> Sizes(std::vector<int32_t> all) const;
  template <typename T>
  std::vector<T> Cases(std::vector<T> all) const {
    if (!slow || all.size() <= 3) return all;
    return {all.front(), all[all.size() / 2], all.back()};
  }
  // Of a slow backend `few`.
  int32_t Many(int32_t many, int32_t few) const { return slow ? few : many; }
  std::vector<int> Threads(std::vector<int> all) const {
    return create != nullptr ? std::vector<int>{1} : all;
  }
};
// Names it in test output.
void PrintTo(const BackendUnderTest& under_test, std::ostream* os);
// The backends of this test binary; it links a definition.
std::vector<BackendUnderTest> AllBackends();
std::unique_ptr<Backend> CreateReference();

// While one lives, tolerances are at least this.
class LeastTolerance {
 public:
  explicit LeastTolerance(double tolerance);
  ~LeastTolerance();
  static double Get();
};

// |actual - expected|, as ExpectNear allows it.
void ExpectNearValue(double actual, double expected, double tolerance);

// Tests of one backend; instantiated for all.
class OpTest : public ::testing::TestWithParam<BackendUnderTest> {
 protected:
  const std::unique_ptr<Backend> backend_ = GetParam().Create(1);
  const std::unique_ptr<Backend> reference_ = GetParam().CreateReference();
  const LeastTolerance least_{GetParam().tolerance};

  // As the backend's tensors hold it.
  HostMatrix Stored(HostMatrix x) const { return RoundedTo(GetParam().tensor_dtype, std::move(x)); }
};

// Leaves a test that compares bits of different batches.
#define PREFIXD_NEEDS_EXACT_ROWS() \
  if (!GetParam().exact) GTEST_SKIP() << "a row's bits depend on its batch"

#define PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(Fixture)                                     \
  INSTANTIATE_TEST_SUITE_P(All, Fixture, ::testing::ValuesIn(AllBackends()),              \
                           [](const ::testing::TestParamInfo<BackendUnderTest>& tested) { \
                             return tested.param.test_name();                             \
                           })

// A pool of that shape; a dtype that the backend does not keep becomes its default.
std::unique_ptr<KvPool> MakePool(Backend* backend, KvPoolShape shape);

// A weight matrix of `dtype` holding `values` (rounded), written in two unaligned pieces.
std::unique_ptr<Matrix> MakeWeight(Backend* backend, DType dtype, const HostMatrix& values);

// Runs `op` with an output of that shape which starts as NaN.
HostMatrix RunOp(Backend* backend, int64_t rows, int64_t cols,
                 const std::function<absl::Status(const Tensor& y)>& op,
                 TensorUse use = TensorUse::kActivations);
// The same with an output that starts as `start`.
HostMatrix RunOpOn(Backend* backend, const HostMatrix& start,
                   const std::function<absl::Status(const Tensor& y)>& op,
                   TensorUse use = TensorUse::kActivations);

// `run` computes rows [begin, begin + count) of an op with `rows` rows. Expects equal bits from the
// whole on one thread, every row alone, chunks of 7 and 33 rows, and 2 and 3 threads; of a backend
// that is not exact nothing.
void ExpectRowsStandAlone(
    const BackendUnderTest& under_test, int64_t rows,
    const std::function<HostMatrix(Backend* backend, int64_t begin, int64_t count)>& run);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_OP_HARNESS_H_
