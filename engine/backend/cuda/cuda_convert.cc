#include "engine/backend/cuda/cuda_convert.h"

#include <cstring>

#include "engine/tensor/half.h"

namespace prefixd::cuda {
namespace {

template <DType kType>
float Load(const unsigned char* bytes, int64_t i) {
  if constexpr (kType == DType::kF32) {
    float value;
    std::memcpy(&value, bytes + 4 * i, 4);
    return value;
  } else {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, 2);
    return kType == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
  }
}

template <DType kType>
void Store(unsigned char* bytes, int64_t i, float value) {
  if constexpr (kType == DType::kF32) {
    std::memcpy(bytes + 4 * i, &value, 4);
  } else {
    const uint16_t bits = kType == DType::kBF16 ? FloatToBF16(value) : FloatToF16(value);
    std::memcpy(bytes + 2 * i, &bits, 2);
  }
}

template <DType kFrom, DType kTo>
void Convert(const unsigned char* from, unsigned char* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) Store<kTo>(to, i, Load<kFrom>(from, i));
}

template <DType kFrom>
void ConvertTo(DType to_type, const unsigned char* from, unsigned char* to, int64_t count) {
  if (to_type == DType::kF32) return Convert<kFrom, DType::kF32>(from, to, count);
  if (to_type == DType::kF16) return Convert<kFrom, DType::kF16>(from, to, count);
  return Convert<kFrom, DType::kBF16>(from, to, count);
}

}  // namespace

void ConvertElements(DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  const auto* const source = static_cast<const unsigned char*>(from);
  auto* const target = static_cast<unsigned char*>(to);
  if (count == 0) return;
  if (from_type == to_type) {
    std::memcpy(target, source, static_cast<size_t>(count) * DTypeSize(to_type));
    return;
  }
  if (from_type == DType::kF32) return ConvertTo<DType::kF32>(to_type, source, target, count);
  if (from_type == DType::kF16) return ConvertTo<DType::kF16>(to_type, source, target, count);
  return ConvertTo<DType::kBF16>(to_type, source, target, count);
}

}  // namespace prefixd::cuda
