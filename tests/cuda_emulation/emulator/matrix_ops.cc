#include "tests/cuda_emulation/emulator/matrix_ops.h"

#include <cstddef>
#include <vector>

#include "engine/tensor/half.h"
#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/grid.h"

namespace prefixd::emu {
namespace {

constexpr uint32_t kWholeWarp = 0xFFFFFFFF;

struct MmaOperands {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

const float* F16Table() {
  static const std::vector<float>* const table = [] {
    auto* values = new std::vector<float>(65536);
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      (*values)[bits] = F16ToFloat(static_cast<uint16_t>(bits));
    }
    return values;
  }();
  return table->data();
}

template <bool kBF16>
void RunMma(void* operands[32], uint32_t) {
  const float* f16 = kBF16 ? nullptr : F16Table();
  const auto value = [f16](uint32_t bits) {
    return kBF16 ? BF16ToFloat(static_cast<uint16_t>(bits)) : f16[bits];
  };
  float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const MmaOperands* own = static_cast<MmaOperands*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + 8 * (i & 1), column = 2 * t + 8 * (i >> 1);
      a[row][column] = value(own->a[i] & 0xFFFF);
      a[row][column + 1] = value(own->a[i] >> 16);
      d[g + 8 * (i >> 1)][2 * t + (i & 1)] = own->d[i];
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = value(own->b[i] & 0xFFFF);
      b[2 * t + 8 * i + 1][g] = value(own->b[i] >> 16);
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const MmaOperands* own = static_cast<MmaOperands*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) own->d[i] = d[g + 8 * (i >> 1)][2 * t + (i & 1)];
  }
}

struct LdMatrixOperands {
  uint32_t* r;
  const uint16_t* row;
};

template <bool kTranspose>
void RunLdMatrix(void* operands[32], uint32_t) {
  const auto row = [operands](int lane) {
    return static_cast<LdMatrixOperands*>(operands[lane])->row;
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    uint32_t* r = static_cast<LdMatrixOperands*>(operands[lane])->r;
    for (int m = 0; m < 4; ++m) {
      const uint32_t low = kTranspose ? row(8 * m + 2 * t)[g] : row(8 * m + g)[2 * t];
      const uint32_t high = kTranspose ? row(8 * m + 2 * t + 1)[g] : row(8 * m + g)[2 * t + 1];
      r[m] = high << 16 | low;
    }
  }
}

}  // namespace

void Mma16816(bool is_bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MmaOperands operands{d, a, b};
  WarpCollective("mma.m16n8k16", kWholeWarp, &operands, is_bf16 ? RunMma<true> : RunMma<false>,
                 Site{});
}

void LdMatrix4(bool transpose, uint32_t (&r)[4], const void* row) {
  CheckAligned16(row, "ldmatrix");
  if (!IsShared(row, 16))
    Fault([&] { return std::string("ldmatrix: the row is not shared memory"); });
  NoteAccess(row, 16, Access::kRead, __builtin_return_address(0));
  LdMatrixOperands operands{r, static_cast<const uint16_t*>(row)};
  WarpCollective("ldmatrix", kWholeWarp, &operands,
                 transpose ? RunLdMatrix<true> : RunLdMatrix<false>, Site{});
}

}  // namespace prefixd::emu
