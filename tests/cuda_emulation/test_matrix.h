// Matrices of the kernel tests: views inside a larger buffer whose other elements are NaN of one
// bit pattern. A kernel that reads beyond its rows computes NaN, one that writes there breaks the
// pattern.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_TEST_MATRIX_H_
#define PREFIXD_TESTS_CUDA_EMULATION_TEST_MATRIX_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernel_bug.h"
#include "engine/backend/cuda/kernels/types.h"
#include "engine/tensor/half.h"
#include "tests/cuda_emulation/emulator/device_array.h"

namespace prefixd::cuda {

inline constexpr int kSeeds = 20;  // Random orders of threads.
inline constexpr Element kElements[] = {Element::kF32, Element::kF16, Element::kBF16};

inline double ToDouble(Element type, uint32_t bits) {
  if (type == Element::kF32) return std::bit_cast<float>(bits);
  const auto half = static_cast<uint16_t>(bits);
  return type == Element::kF16 ? F16ToFloat(half) : BF16ToFloat(half);
}

inline uint32_t ToBits(Element type, double value) {
  const auto x = static_cast<float>(value);
  if (type == Element::kF32) return std::bit_cast<uint32_t>(x);
  return type == Element::kF16 ? FloatToF16(x) : FloatToBF16(x);
}

// The largest relative error of rounding to `type`; 0 for float32, whose bar is the caller's.
inline double Roundoff(Element type) {
  return type == Element::kF32 ? 0 : type == Element::kF16 ? 0x1p-11 : 0x1p-8;
}

// The bar of nearly every op: one rounding to `type` of a value computed in float32, in which terms
// of up to `scale` were added. 2^-25 is half of float16's smallest number.
inline bool IsClose(Element type, double actual, double exact, double scale) {
  if (std::isnan(actual)) return false;
  const double tiny = type == Element::kF16 ? 0x1p-25 : 0;
  return std::abs(actual - exact) <=
         Roundoff(type) * std::abs(exact) + 1e-6 * std::max(scale, std::abs(exact)) + tiny;
}

inline std::string Name(Element type) {
  return type == Element::kF32 ? "f32" : type == Element::kF16 ? "f16" : "bf16";
}

// Elements in device memory, by index; those never set are guards.
class TestElements {
 public:
  TestElements(Element type, int64_t count)
      : type_(type),
        guard_(NewGuard(type)),
        bits_(static_cast<size_t>(count), guard_),
        device_(Bytes()) {}

  Element type() const { return type_; }
  int64_t size() const { return static_cast<int64_t>(bits_.size()); }
  std::byte* data() { return reinterpret_cast<std::byte*>(device_.data()); }

  void Set(int64_t i, double value) { SetBits(i, ToBits(type_, value)); }
  void SetBits(int64_t i, uint32_t bits) { bits_[static_cast<size_t>(i)] = bits; }
  // The values that were set, exactly; after Download those that are there.
  double Get(int64_t i) const { return ToDouble(type_, Bits(i)); }
  uint32_t Bits(int64_t i) const { return bits_[static_cast<size_t>(i)]; }
  bool IsGuard(int64_t i) const { return Bits(i) == guard_; }

  void Upload() { device_.Upload(Bytes()); }
  void Download() {
    const std::vector<uint8_t> bytes = device_.Download();
    const size_t size = static_cast<size_t>(ElementSize(type_));
    for (size_t i = 0; i < bits_.size(); ++i) {
      bits_[i] = 0;
      std::memcpy(&bits_[i], bytes.data() + i * size, size);
    }
  }

 private:
  static uint32_t NewGuard(Element type) {
    static uint32_t count = 0;
    const uint32_t payload = ++count % 63 + 1;
    return (type == Element::kF32 ? 0x7F800000 : type == Element::kF16 ? 0x7C00 : 0x7F80) | payload;
  }
  std::vector<uint8_t> Bytes() const {
    const size_t size = static_cast<size_t>(ElementSize(type_));
    std::vector<uint8_t> bytes(bits_.size() * size);
    for (size_t i = 0; i < bits_.size(); ++i) std::memcpy(&bytes[i * size], &bits_[i], size);
    return bytes;
  }

  const Element type_;
  const uint32_t guard_;
  std::vector<uint32_t> bits_;
  emu::DeviceArray<uint8_t> device_;
};

// Every row at a multiple of 16 bytes; at column 5 of rows of odd length; only the first row at a
// multiple of 16 bytes.
enum class Placement { kAligned, kColumn5, kOddRows };
inline constexpr Placement kPlacements[] = {Placement::kAligned, Placement::kColumn5,
                                            Placement::kOddRows};

inline std::string Name(Placement placement) {
  return placement == Placement::kAligned   ? "aligned"
         : placement == Placement::kColumn5 ? "column 5"
                                            : "odd rows";
}

class TestMatrix {
 public:
  TestMatrix(Element type, int64_t rows, int64_t cols, Placement placement)
      : rows_(rows),
        cols_(cols),
        stride_(placement == Placement::kAligned ? (cols + 15) / 16 * 16 + 16 : (cols | 1) + 12),
        begin_(kMargin + (placement == Placement::kColumn5 ? 5 : 0)),
        elements_(type, 2 * kMargin + rows * stride_) {}

  // Uniform numbers of [-size, size], rounded to the type.
  TestMatrix& Fill(std::mt19937* random, double size) {
    std::uniform_real_distribution<double> uniform(-size, size);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) Set(r, c, uniform(*random));
    }
    elements_.Upload();
    return *this;
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  Element type() const { return elements_.type(); }
  void Set(int64_t r, int64_t c, double value) { elements_.Set(Index(r, c), value); }
  double Get(int64_t r, int64_t c) const { return elements_.Get(Index(r, c)); }
  uint32_t Bits(int64_t r, int64_t c) const { return elements_.Bits(Index(r, c)); }
  void Upload() { elements_.Upload(); }
  void Download() { elements_.Download(); }

  DeviceMatrix view() { return Rows(0, rows_); }
  DeviceMatrix Rows(int64_t first, int64_t count) {
    return {elements_.data() + Index(first, 0) * ElementSize(type()), type(), count, cols_,
            stride_};
  }

  // Empty, or the first element outside [rows, cols] that is no guard any more.
  std::string BrokenGuard() const {
    for (int64_t i = 0; i < elements_.size(); ++i) {
      const int64_t at = i - begin_;
      const bool inside = at >= 0 && at < rows_ * stride_ && at % stride_ < cols_;
      if (!inside && !elements_.IsGuard(i)) {
        return "written: element " + std::to_string(at) + " of rows of " + std::to_string(stride_);
      }
    }
    return "";
  }

 private:
  static constexpr int64_t kMargin = 64;
  int64_t Index(int64_t r, int64_t c) const { return begin_ + r * stride_ + c; }

  const int64_t rows_, cols_, stride_, begin_;
  TestElements elements_;
};

// The numbers that a matrix held at some time.
class HostMatrix {
 public:
  explicit HostMatrix(const TestMatrix& x) : cols_(x.cols()) {
    for (int64_t r = 0; r < x.rows(); ++r) {
      for (int64_t c = 0; c < cols_; ++c) values_.push_back(x.Get(r, c));
    }
  }
  double Get(int64_t r, int64_t c) const { return values_[static_cast<size_t>(r * cols_ + c)]; }

 private:
  const int64_t cols_;
  std::vector<double> values_;
};

// What every element of a matrix should be: exact(r, c), where terms of up to scale(r, c) were
// added.
using Exact = std::function<double(int64_t r, int64_t c)>;

// Empty, or the first thing that is wrong with `y` on the device.
inline std::string Mismatch(TestMatrix* y, const Exact& exact, const Exact& scale) {
  y->Download();
  for (int64_t r = 0; r < y->rows(); ++r) {
    for (int64_t c = 0; c < y->cols(); ++c) {
      if (!IsClose(y->type(), y->Get(r, c), exact(r, c), scale(r, c))) {
        return "row " + std::to_string(r) + " column " + std::to_string(c) + ": " +
               std::to_string(y->Get(r, c)) + " instead of " + std::to_string(exact(r, c));
      }
    }
  }
  return y->BrokenGuard();
}

// Plants a bug for its lifetime.
class PlantedBug {
 public:
  explicit PlantedBug(KernelBug bug) { planted_kernel_bug = bug; }
  ~PlantedBug() { planted_kernel_bug = KernelBug::kNone; }
  PlantedBug(const PlantedBug&) = delete;
  PlantedBug& operator=(const PlantedBug&) = delete;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_TEST_MATRIX_H_
