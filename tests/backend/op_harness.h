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
void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance,
                const HostMatrix& scale);
void ExpectNear(const HostMatrix& actual, const HostMatrix& expected, double tolerance);
void ExpectSameBits(const HostMatrix& actual, const HostMatrix& expected);

// A view inside a poisoned matrix.
class GuardedTensor {
 public:
  // Holds `x`; all around is NaN.
  static GuardedTensor Input(Backend* backend, const HostMatrix& x);
  // Holds `start`; all around is a value that CheckGuards looks for.
  static GuardedTensor Output(Backend* backend, const HostMatrix& start);

  const Tensor& view() const { return view_; }
  HostMatrix Read() const;
  void CheckGuards() const;

 private:
  GuardedTensor(Backend* backend, const HostMatrix& x, float guard);

  Backend* backend_;
  float guard_;
  OwnedTensor outer_;
  Tensor view_;
};

// One of the backends under test.
struct BackendUnderTest {
  std::string name;
  std::string level;
  DType activation_dtype = DType::kF32;

  std::unique_ptr<Backend> Create(int num_threads) const;
  // Whether products round their input to bf16.
  bool rounds_activations() const { return activation_dtype == DType::kBF16; }
};
// Names it in test output.
void PrintTo(const BackendUnderTest& under_test, std::ostream* os);
std::vector<BackendUnderTest> AllBackends();
std::unique_ptr<Backend> CreateReference();

// Tests of one backend; instantiated for all.
class OpTest : public ::testing::TestWithParam<BackendUnderTest> {
 protected:
  const std::unique_ptr<Backend> backend_ = GetParam().Create(1);
  const std::unique_ptr<Backend> reference_ = CreateReference();
};

#define PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(Fixture)                                       \
  INSTANTIATE_TEST_SUITE_P(                                                                 \
      All, Fixture, ::testing::ValuesIn(AllBackends()),                                     \
      [](const ::testing::TestParamInfo<BackendUnderTest>& info) {                          \
        return info.param.name + info.param.level +                                         \
               (info.param.rounds_activations() ? std::string("rounding") : std::string()); \
      })

// A weight matrix of `dtype` holding `values` (rounded), written in two unaligned pieces.
std::unique_ptr<Matrix> MakeWeight(Backend* backend, DType dtype, const HostMatrix& values);

// Runs `op` with an output of that shape which starts as NaN.
HostMatrix RunOp(Backend* backend, int64_t rows, int64_t cols,
                 const std::function<absl::Status(const Tensor& y)>& op);
// The same with an output that starts as `start`.
HostMatrix RunOpOn(Backend* backend, const HostMatrix& start,
                   const std::function<absl::Status(const Tensor& y)>& op);

// `run` computes rows [begin, begin + count) of an op with `rows` rows. Expects equal bits from the
// whole on one thread, every row alone, chunks of 7 and 33 rows, and 2 and 3 threads.
void ExpectRowsStandAlone(
    const BackendUnderTest& under_test, int64_t rows,
    const std::function<HostMatrix(Backend* backend, int64_t begin, int64_t count)>& run);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_OP_HARNESS_H_
