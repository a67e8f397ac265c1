#include "engine/tokenizer/protobuf_reader.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

absl::Status WrongWire(uint32_t number) {
  return absl::InvalidArgumentError(absl::StrCat("field ", number, " is coded otherwise"));
}

uint64_t LittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i - 1]);
  return value;
}

}  // namespace

absl::StatusOr<absl::string_view> ProtobufReader::Field::Bytes() const {
  if (wire != Wire::kBytes) return WrongWire(number);
  return bytes;
}

absl::StatusOr<int64_t> ProtobufReader::Field::Int() const {
  if (wire != Wire::kVarint) return WrongWire(number);
  return static_cast<int64_t>(value);
}

absl::StatusOr<bool> ProtobufReader::Field::Bool() const {
  if (wire != Wire::kVarint || value > 1) return WrongWire(number);
  return value == 1;
}

absl::StatusOr<float> ProtobufReader::Field::Float() const {
  if (wire != Wire::kFixed32) return WrongWire(number);
  return std::bit_cast<float>(static_cast<uint32_t>(value));
}

absl::Status ProtobufReader::Broken(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(what, " at byte ", position_));
}

absl::StatusOr<uint64_t> ProtobufReader::ReadVarint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at_end()) return Broken("the message breaks off");
    const uint8_t byte = static_cast<uint8_t>(bytes_[position_++]);
    if (shift == 63 && byte > 1) return Broken("a number of more than 64 bits");
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return Broken("a number of more than 64 bits");
}

absl::StatusOr<absl::string_view> ProtobufReader::ReadBytes(uint64_t size) {
  if (size > bytes_.size() - position_) return Broken("the message breaks off");
  const absl::string_view bytes = bytes_.substr(position_, static_cast<size_t>(size));
  position_ += bytes.size();
  return bytes;
}

absl::StatusOr<ProtobufReader::Field> ProtobufReader::Next() {
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t tag, ReadVarint());
  const uint64_t number = tag >> 3;
  if (number == 0 || number >= uint64_t{1} << 29) return Broken("no field number");
  Field field{.number = static_cast<uint32_t>(number)};
  switch (tag & 7) {
    case 0: {
      PREFIXD_ASSIGN_OR_RETURN(field.value, ReadVarint());
      field.wire = Wire::kVarint;
      return field;
    }
    case 1: {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view bytes, ReadBytes(8));
      field.value = LittleEndian(bytes);
      field.wire = Wire::kFixed64;
      return field;
    }
    case 2: {
      PREFIXD_ASSIGN_OR_RETURN(const uint64_t size, ReadVarint());
      PREFIXD_ASSIGN_OR_RETURN(field.bytes, ReadBytes(size));
      field.wire = Wire::kBytes;
      return field;
    }
    case 5: {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view bytes, ReadBytes(4));
      field.value = LittleEndian(bytes);
      field.wire = Wire::kFixed32;
      return field;
    }
    default:
      return Broken("an unknown coding of a field");
  }
}

}  // namespace prefixd
