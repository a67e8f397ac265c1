// A writer of small tokenizer.model files for tests: protobuf by hand.
#ifndef PREFIXD_TESTS_TOKENIZER_PIECE_FILE_H_
#define PREFIXD_TESTS_TOKENIZER_PIECE_FILE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace prefixd {

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

inline std::string IntField(uint32_t number, int64_t value) {
  return Varint(number << 3) + Varint(static_cast<uint64_t>(value));
}

inline std::string BytesField(uint32_t number, const std::string& bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + bytes;
}

inline std::string FloatField(uint32_t number, float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return Varint(number << 3 | 5) + bytes;
}

inline std::string Piece(const std::string& text, float score = 0, int type = 1) {
  return BytesField(1, BytesField(1, text) + FloatField(2, score) + IntField(3, type));
}

constexpr int kUnknownPiece = 2;
constexpr int kControlPiece = 3;
constexpr int kUserPiece = 4;
constexpr int kUnusedPiece = 5;
constexpr int kBytePiece = 6;

struct PieceFile {
  std::string pieces = Piece("<unk>", 0, kUnknownPiece) + Piece("<s>", 0, kControlPiece) +
                       Piece("</s>", 0, kControlPiece) + Piece("ab", -1) +
                       Piece("\xE2\x96\x81", -2) + Piece("a", -3) + Piece("b", -4);
  std::string trainer = IntField(3, 2);
  std::string normalizer = BytesField(1, "identity") + IntField(3, 0) + IntField(4, 0);

  std::string Bytes() const { return pieces + BytesField(2, trainer) + BytesField(3, normalizer); }
};

}  // namespace prefixd

#endif  // PREFIXD_TESTS_TOKENIZER_PIECE_FILE_H_
