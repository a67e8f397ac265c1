#include "engine/weights/tensor_info.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace prefixd {

namespace {

struct DTypeNames {
  absl::string_view name;
  DType dtype;
};

constexpr DTypeNames kComputable[] = {
    {"F32", DType::kF32},   {"F16", DType::kF16},   {"BF16", DType::kBF16}, {"Q8_0", DType::kQ8_0},
    {"Q4_0", DType::kQ4_0}, {"Q4_1", DType::kQ4_1}, {"Q5_0", DType::kQ5_0}, {"Q5_1", DType::kQ5_1},
    {"Q4_K", DType::kQ4_K}, {"Q5_K", DType::kQ5_K}, {"Q6_K", DType::kQ6_K},
};

}  // namespace

std::optional<DType> ComputableDType(absl::string_view stored) {
  for (const DTypeNames& type : kComputable) {
    if (type.name == stored) return type.dtype;
  }
  return std::nullopt;
}

absl::string_view StoredDTypeName(DType dtype) {
  PREFIXD_CHECK(dtype != DType::kF64 && !IsQuantized(dtype));
  if (dtype == DType::kF32) return "F32";
  return dtype == DType::kF16 ? "F16" : "BF16";
}

uint64_t NumElements(absl::Span<const int64_t> shape) {
  uint64_t elements = 1;
  for (const int64_t dimension : shape) elements *= static_cast<uint64_t>(dimension);
  return elements;
}

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace prefixd
