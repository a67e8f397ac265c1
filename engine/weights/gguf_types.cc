#include "engine/weights/gguf_types.h"

namespace prefixd {
namespace {

// Some can be stored but not computed with; those without a block are known by name only.
constexpr GgufTensorType kTensorTypes[] = {
    {0, "F32", {1, 4}},
    {1, "F16", {1, 2}},
    {2, "Q4_0", BlockOf(DType::kQ4_0)},
    {3, "Q4_1", BlockOf(DType::kQ4_1)},
    {6, "Q5_0", BlockOf(DType::kQ5_0)},
    {7, "Q5_1", BlockOf(DType::kQ5_1)},
    {8, "Q8_0", BlockOf(DType::kQ8_0)},
    {9, "Q8_1", {32, 36}},
    {10, "Q2_K", {256, 84}},
    {11, "Q3_K", {256, 110}},
    {12, "Q4_K", BlockOf(DType::kQ4_K)},
    {13, "Q5_K", BlockOf(DType::kQ5_K)},
    {14, "Q6_K", BlockOf(DType::kQ6_K)},
    {15, "Q8_K", {256, 292}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {1, 1}},
    {25, "I16", {1, 2}},
    {26, "I32", {1, 4}},
    {27, "I64", {1, 8}},
    {28, "F64", {1, 8}},
    {29, "IQ1_M", {}},
    {30, "BF16", {1, 2}},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
};

}  // namespace

const GgufTensorType* FindGgufTensorType(uint32_t id) {
  for (const GgufTensorType& type : kTensorTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

}  // namespace prefixd
