#include "engine/weights/gguf_metadata.h"

#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

struct TypeRow {
  absl::string_view name;
  uint64_t size;
};

// In the order of GgufType.
constexpr TypeRow kTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

// The value of an integer of `size` bytes in two's complement.
int64_t SignExtend(uint64_t bits, uint64_t size) {
  const int shift = static_cast<int>(64 - 8 * size);
  return static_cast<int64_t>(bits << shift) >> shift;
}

}  // namespace

uint64_t GgufTypeSize(GgufType type) { return kTypes[static_cast<uint32_t>(type)].size; }

absl::string_view GgufTypeName(GgufType type) { return kTypes[static_cast<uint32_t>(type)].name; }

GgufMetadata::GgufMetadata(std::string path, std::string bytes,
                           std::map<std::string, GgufValue> values)
    : path_(std::move(path)), bytes_(std::move(bytes)), values_(std::move(values)) {}

absl::Status GgufMetadata::Error(absl::string_view key, absl::string_view problem) const {
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": ", absl::CHexEscape(key.substr(0, 80)), ": ", problem));
}

const GgufValue* GgufMetadata::Find(absl::string_view key) const {
  const auto it = values_.find(std::string(key));
  return it == values_.end() ? nullptr : &it->second;
}

absl::Status GgufMetadata::WrongType(absl::string_view key, absl::string_view expected) const {
  const GgufValue& value = *Find(key);
  return Error(key, absl::StrCat("the value is of type ", GgufTypeName(value.type),
                                 value.type == GgufType::kArray ? " of " : "",
                                 value.type == GgufType::kArray ? GgufTypeName(value.element) : "",
                                 ", expected ", expected));
}

uint64_t GgufMetadata::Bits(uint64_t begin, uint64_t size) const {
  uint64_t bits = 0;
  for (uint64_t i = 0; i < size; ++i) {
    bits |= uint64_t{static_cast<uint8_t>(bytes_[begin + i])} << (8 * i);
  }
  return bits;
}

absl::Status GgufMetadata::ReadInt(absl::string_view key, GgufType type, uint64_t begin,
                                   int64_t* out) const {
  const uint64_t size = GgufTypeSize(type);
  const uint64_t bits = Bits(begin, size);
  switch (type) {
    case GgufType::kI8:
    case GgufType::kI16:
    case GgufType::kI32:
    case GgufType::kI64:
      *out = SignExtend(bits, size);
      return absl::OkStatus();
    case GgufType::kU8:
    case GgufType::kU16:
    case GgufType::kU32:
    case GgufType::kU64:
      if (bits > uint64_t{INT64_MAX}) {
        return Error(key, absl::StrCat(bits, " is not below 2^63"));
      }
      *out = static_cast<int64_t>(bits);
      return absl::OkStatus();
    default:
      return WrongType(key, "an integer");
  }
}

absl::Status GgufMetadata::Int(absl::string_view key, int64_t* out) const {
  const GgufValue* const value = Find(key);
  return value == nullptr ? absl::OkStatus() : ReadInt(key, value->type, value->begin, out);
}

absl::Status GgufMetadata::Float(absl::string_view key, double* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kF32 && value->type != GgufType::kF64) {
    return WrongType(key, "f32 or f64");
  }
  const uint64_t bits = Bits(value->begin, GgufTypeSize(value->type));
  const double number = value->type == GgufType::kF32
                            ? double{std::bit_cast<float>(static_cast<uint32_t>(bits))}
                            : std::bit_cast<double>(bits);
  if (!std::isfinite(number)) return Error(key, absl::StrCat(number, " is not finite"));
  *out = number;
  return absl::OkStatus();
}

absl::Status GgufMetadata::Bool(absl::string_view key, bool* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kBool) return WrongType(key, "bool");
  *out = bytes_[value->begin] != 0;
  return absl::OkStatus();
}

absl::Status GgufMetadata::String(absl::string_view key, std::string* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kString) return WrongType(key, "string");
  *out = bytes_.substr(value->begin, value->count);
  return absl::OkStatus();
}

absl::Status GgufMetadata::Ints(absl::string_view key, std::vector<int32_t>* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kArray || GgufTypeSize(value->element) == 0) {
    return WrongType(key, "an array of integers");
  }
  out->clear();
  out->reserve(value->count);
  const uint64_t size = GgufTypeSize(value->element);
  for (uint64_t i = 0; i < value->count; ++i) {
    int64_t number = 0;
    PREFIXD_RETURN_IF_ERROR(ReadInt(key, value->element, value->begin + i * size, &number));
    if (number < INT32_MIN || number > INT32_MAX) {
      return Error(key, absl::StrCat("element ", i, " is ", number, ", expected 32 bits"));
    }
    out->push_back(static_cast<int32_t>(number));
  }
  return absl::OkStatus();
}

absl::Status GgufMetadata::Floats(absl::string_view key, std::vector<float>* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kArray || value->element != GgufType::kF32) {
    return WrongType(key, "an array of f32");
  }
  out->clear();
  out->reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto bits = static_cast<uint32_t>(Bits(value->begin + 4 * i, 4));
    out->push_back(std::bit_cast<float>(bits));
  }
  return absl::OkStatus();
}

absl::Status GgufMetadata::Strings(absl::string_view key, std::vector<std::string>* out) const {
  const GgufValue* const value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kArray || value->element != GgufType::kString) {
    return WrongType(key, "an array of strings");
  }
  out->clear();
  out->reserve(value->count);
  uint64_t begin = value->begin;
  for (uint64_t i = 0; i < value->count; ++i) {
    const uint64_t size = Bits(begin, 8);
    out->push_back(bytes_.substr(begin + 8, size));
    begin += 8 + size;
  }
  return absl::OkStatus();
}

}  // namespace prefixd
