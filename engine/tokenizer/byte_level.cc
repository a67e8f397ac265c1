#include "engine/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr size_t kNumStandIns = 0x144;  // Code points below this one may stand for a byte.

bool StandsForItself(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Tables {
  std::array<std::string, 256> stand_in;
  std::array<int16_t, kNumStandIns> byte_of;  // -1: stands for none.
};

const Tables& ByteTables() {
  static const Tables* const kTables = [] {
    auto* tables = new Tables;
    tables->byte_of.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t code_point = StandsForItself(byte) ? byte : next++;
      AppendUtf8(code_point, &tables->stand_in[byte]);
      tables->byte_of[code_point] = static_cast<int16_t>(byte);
    }
    return tables;
  }();
  return *kTables;
}

}  // namespace

std::string ToByteLevel(absl::string_view text) {
  const Tables& tables = ByteTables();
  std::string mapped;
  mapped.reserve(text.size() * 2);
  for (const char c : text) mapped += tables.stand_in[static_cast<uint8_t>(c)];
  return mapped;
}

std::string FromByteLevel(absl::string_view token) {
  const Tables& tables = ByteTables();
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t i = 0; i < token.size();) {
    const Character character = CharacterAt(token, i);
    if (character.code_point >= kNumStandIns || tables.byte_of[character.code_point] < 0) {
      return std::string(token);
    }
    bytes.push_back(static_cast<char>(tables.byte_of[character.code_point]));
    i += character.num_bytes;
  }
  return bytes;
}

}  // namespace prefixd
