// The fields of one protobuf message, in order, without its schema: what a reader of a few fields
// needs. Every field takes at least two bytes, so reading is linear in the size. Borrows the bytes;
// one thread.
// Source: the Protocol Buffers wire format.
#ifndef PREFIXD_ENGINE_TOKENIZER_PROTOBUF_READER_H_
#define PREFIXD_ENGINE_TOKENIZER_PROTOBUF_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

class ProtobufReader {
 public:
  enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  struct Field {
    uint32_t number = 0;
    Wire wire = Wire::kVarint;
    uint64_t value = 0;       // Varint and fixed ones.
    absl::string_view bytes;  // kBytes: a string or another message.

    // Errors: INVALID_ARGUMENT naming the field if it is coded otherwise; Bool takes 0 and 1 only.
    absl::StatusOr<absl::string_view> Bytes() const;
    absl::StatusOr<int64_t> Int() const;
    absl::StatusOr<bool> Bool() const;
    absl::StatusOr<float> Float() const;
  };

  // `bytes` must outlive the fields.
  explicit ProtobufReader(absl::string_view bytes) : bytes_(bytes) {}

  bool at_end() const { return position_ == bytes_.size(); }
  // Requires: not at the end. Errors: INVALID_ARGUMENT with the byte where the message breaks off,
  // or of a group or an unknown coding.
  absl::StatusOr<Field> Next();

 private:
  absl::StatusOr<uint64_t> ReadVarint();
  absl::StatusOr<absl::string_view> ReadBytes(uint64_t size);
  absl::Status Broken(absl::string_view what) const;

  absl::string_view bytes_;
  size_t position_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_PROTOBUF_READER_H_
