#include "tests/cuda_emulation/emulator/code_place.h"

#include <elf.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <unordered_map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

extern "C" const unsigned char __executable_start[];  // Of the linker: the ELF header.

namespace prefixd::emu {
namespace {

uintptr_t ProgramBegin() { return reinterpret_cast<uintptr_t>(__executable_start); }

bool IsRelocated() {
  return reinterpret_cast<const Elf64_Ehdr*>(__executable_start)->e_type == ET_DYN;
}

}  // namespace

uint32_t CodeOffset(const void* code) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(code) - ProgramBegin());
}

namespace {

std::string FindPlace(uint32_t offset) {
  char program[PATH_MAX + 1] = {};
  // A return address lies behind its instruction.
  const uint64_t address = offset - 1 + (IsRelocated() ? 0 : ProgramBegin());
  std::string text;
  if (readlink("/proc/self/exe", program, PATH_MAX) > 0) {
    const std::string command =
        absl::StrFormat("addr2line -i -e '%s' 0x%x 2>/dev/null", program, address);
    if (FILE* pipe = popen(command.c_str(), "r"); pipe != nullptr) {
      char buffer[512];
      while (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) text += buffer;
      pclose(pipe);
    }
  }
  std::vector<std::string> places;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    line = line.substr(line.rfind('/') + 1);
    int number = 0;  // "name.cu:12 (discriminator 3)"
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::ByAnyChar(": "));
    if (parts.size() < 2 || !absl::SimpleAtoi(parts[1], &number) || number == 0) continue;
    if (parts[0] == "atomic_access.h" || parts[0] == "atomics.h") continue;
    places.push_back(absl::StrCat(parts[0], ":", number));
  }
  if (places.empty()) return absl::StrFormat("code 0x%x", address);
  if (places.size() > 4) places.resize(4);
  return absl::StrJoin(places, " < ");
}

}  // namespace

std::string CodePlaceText(uint32_t offset) {
  static auto* const known = new std::unordered_map<uint32_t, std::string>;
  std::string& text = (*known)[offset];
  if (text.empty()) text = FindPlace(offset);
  return text;
}

}  // namespace prefixd::emu
