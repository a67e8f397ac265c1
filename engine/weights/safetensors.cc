#include "engine/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/json.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

struct StoredType {
  absl::string_view name;
  uint64_t bits;
};

constexpr StoredType kStoredTypes[] = {
    {"BOOL", 8},        {"U8", 8},          {"I8", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8},     {"F8_E4M3FNUZ", 8}, {"F4", 4},    {"F6_E2M3", 6}, {"F6_E3M2", 6},
    {"F8_E5M2FNUZ", 8}, {"F16", 16},        {"BF16", 16}, {"I16", 16},    {"U16", 16},
    {"F32", 32},        {"I32", 32},        {"U32", 32},  {"F64", 64},    {"I64", 64},
    {"U64", 64},        {"C64", 64},
};

// A name fit for an error message: printable and short.
std::string ShortName(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, 80)), name.size() > 80 ? "..." : "",
                      "\"");
}

absl::Status BadTensor(absl::string_view name, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", ShortName(name), ": ", problem));
}

std::optional<uint64_t> BitsOf(absl::string_view dtype) {
  for (const StoredType& type : kStoredTypes) {
    if (type.name == dtype) return type.bits;
  }
  return std::nullopt;
}

absl::Status CheckName(absl::string_view name) {
  if (name.empty()) return BadTensor(name, "the name is empty");
  if (name.size() > kMaxTensorNameBytes) {
    return BadTensor(name, absl::StrCat("the name has ", name.size(), " bytes, the limit is ",
                                        kMaxTensorNameBytes));
  }
  if (name.find('\0') != absl::string_view::npos) {
    return BadTensor(name, "the name contains a zero byte");
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const json& metadata) {
  if (metadata.is_null()) return absl::OkStatus();
  if (!metadata.is_object()) return absl::InvalidArgumentError("__metadata__ is not an object");
  for (const auto& item : metadata.items()) {
    if (!item.value().is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("__metadata__ ", ShortName(item.key()), " is not a string"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> ParseShape(absl::string_view name, const json& shape) {
  if (!shape.is_array()) return BadTensor(name, "shape is not an array");
  if (shape.size() > kMaxTensorRank) {
    return BadTensor(name, absl::StrCat("shape has ", shape.size(), " dimensions, the limit is ",
                                        kMaxTensorRank));
  }
  std::vector<int64_t> dimensions;
  for (const json& value : shape) {
    if (!value.is_number_unsigned() ||
        value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
      return BadTensor(name, absl::StrCat("shape holds ", value.dump().substr(0, 32).c_str(),
                                          ", expected a non-negative integer below 2^63"));
    }
    dimensions.push_back(static_cast<int64_t>(value.get<uint64_t>()));
  }
  return dimensions;
}

absl::StatusOr<std::array<uint64_t, 2>> ParseOffsets(absl::string_view name, const json& offsets) {
  if (!offsets.is_array() || offsets.size() != 2) {
    return BadTensor(name, "data_offsets is not an array of two integers");
  }
  std::array<uint64_t, 2> range;
  for (size_t i = 0; i < 2; ++i) {
    if (!offsets[i].is_number_unsigned()) {
      return BadTensor(name,
                       absl::StrCat("data_offsets holds ", offsets[i].dump().substr(0, 32).c_str(),
                                    ", expected a non-negative integer"));
    }
    range[i] = offsets[i].get<uint64_t>();
  }
  return range;
}

// Returns the bytes that `shape` elements of `dtype` take.
absl::StatusOr<uint64_t> ExpectedBytes(absl::string_view name, absl::string_view dtype,
                                       absl::Span<const int64_t> shape) {
  const std::optional<uint64_t> bits_per_element = BitsOf(dtype);
  if (!bits_per_element.has_value()) {
    return BadTensor(name, absl::StrCat("unknown dtype ", ShortName(dtype)));
  }
  std::optional<uint64_t> bits = *bits_per_element;
  for (const int64_t dimension : shape) {
    bits = CheckedMul(*bits, static_cast<uint64_t>(dimension));
    // Refused even when a later dimension is zero: no sane file has such a shape.
    if (!bits.has_value()) {
      return BadTensor(name, absl::StrCat("shape ", ShapeString(shape), " is too large"));
    }
  }
  if (*bits % 8 != 0) {
    return BadTensor(name, absl::StrCat("shape ", ShapeString(shape), " of ", dtype,
                                        " is not a whole number of bytes"));
  }
  return *bits / 8;
}

absl::StatusOr<TensorInfo> ParseTensor(const std::string& name, const json& entry,
                                       uint64_t data_bytes) {
  PREFIXD_RETURN_IF_ERROR(CheckName(name));
  if (!entry.is_object()) return BadTensor(name, "the entry is not an object");
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!entry.contains(key)) return BadTensor(name, absl::StrCat(key, " is missing"));
  }
  if (entry.size() != 3) {
    return BadTensor(name, "the entry has keys beyond dtype, shape and data_offsets");
  }
  if (!entry["dtype"].is_string()) return BadTensor(name, "dtype is not a string");

  TensorInfo tensor{.name = name, .dtype = entry["dtype"].get<std::string>()};
  PREFIXD_ASSIGN_OR_RETURN(tensor.shape, ParseShape(name, entry["shape"]));
  PREFIXD_ASSIGN_OR_RETURN(const auto range, ParseOffsets(name, entry["data_offsets"]));
  const auto [begin, end] = range;
  if (begin > end || end > data_bytes) {
    return BadTensor(name, absl::StrCat("data_offsets [", begin, ", ", end,
                                        "] do not fit the file's ", data_bytes, " data bytes"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t expected,
                           ExpectedBytes(name, tensor.dtype, tensor.shape));
  if (end - begin != expected) {
    return BadTensor(
        name, absl::StrCat("data_offsets hold ", end - begin, " bytes, shape ",
                           ShapeString(tensor.shape), " of ", tensor.dtype, " needs ", expected));
  }
  tensor.begin = begin;
  tensor.size_bytes = expected;
  return tensor;
}

// The tensors must tile [0, data_bytes) in order of their offsets.
absl::Status CheckTiling(absl::Span<const TensorInfo> sorted, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const TensorInfo& tensor : sorted) {
    if (tensor.begin != end) {
      return BadTensor(tensor.name, absl::StrCat("begins at data byte ", tensor.begin,
                                                 ", the tensor before it ends at ", end));
    }
    end += tensor.size_bytes;
  }
  if (end != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tensors end at data byte ", end, ", the file has ", data_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<TensorInfo>> ParseSafetensorsHeader(absl::string_view text,
                                                               uint64_t data_bytes) {
  if (text.empty() || text[0] != '{') {
    return absl::InvalidArgumentError("the header does not begin with '{'");
  }
  absl::StatusOr<json> header = ParseJson(text);
  if (!header.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("header: ", header.status().message()));
  }
  if (header->size() > kMaxSafetensorsTensors + 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the header names ", header->size(), " tensors, the limit is ", kMaxSafetensorsTensors));
  }
  std::vector<TensorInfo> tensors;
  tensors.reserve(header->size());
  for (const auto& item : header->items()) {
    if (item.key() == "__metadata__") {
      PREFIXD_RETURN_IF_ERROR(CheckMetadata(item.value()));
      continue;
    }
    PREFIXD_ASSIGN_OR_RETURN(TensorInfo tensor, ParseTensor(item.key(), item.value(), data_bytes));
    tensors.push_back(std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.size_bytes) < std::tie(b.begin, b.size_bytes);
  });
  PREFIXD_RETURN_IF_ERROR(CheckTiling(tensors, data_bytes));
  return tensors;
}

absl::StatusOr<std::vector<TensorInfo>> ReadSafetensorsHeader(const File& file) {
  constexpr uint64_t kPrefixBytes = 8;
  const auto file_error = [&file](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", problem));
  };
  if (file.size_bytes() < kPrefixBytes) {
    return file_error(absl::StrCat(file.size_bytes(), " bytes, too short for a safetensors file"));
  }
  std::array<uint8_t, kPrefixBytes> prefix;
  PREFIXD_RETURN_IF_ERROR(file.ReadAt(0, absl::MakeSpan(prefix)));
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i) header_bytes |= uint64_t{prefix[i]} << (8 * i);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return file_error(absl::StrCat("the header has ", header_bytes, " bytes, the limit is ",
                                   kMaxSafetensorsHeaderBytes));
  }
  if (header_bytes > file.size_bytes() - kPrefixBytes) {
    return file_error(
        absl::StrCat("the header has ", header_bytes, " bytes, the file ", file.size_bytes()));
  }
  std::string header(header_bytes, '\0');
  PREFIXD_RETURN_IF_ERROR(file.ReadAt(
      kPrefixBytes, absl::MakeSpan(reinterpret_cast<uint8_t*>(header.data()), header.size())));
  const uint64_t data_begin = kPrefixBytes + header_bytes;
  absl::StatusOr<std::vector<TensorInfo>> tensors =
      ParseSafetensorsHeader(header, file.size_bytes() - data_begin);
  if (!tensors.ok()) return file_error(tensors.status().message());
  for (TensorInfo& tensor : *tensors) tensor.begin += data_begin;
  return tensors;
}

}  // namespace prefixd
