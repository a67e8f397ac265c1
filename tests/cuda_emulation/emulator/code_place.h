// Where in the source an instruction of this program comes from.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_CODE_PLACE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_CODE_PLACE_H_

#include <cstdint>
#include <string>

namespace prefixd::emu {

// The address of an instruction, relative to the program's beginning.
uint32_t CodeOffset(const void* code);

// "device.h:90 < row_ops.cu:12": the innermost inlined function first; the bare offset where
// addr2line or debug information lacks. Slow.
std::string CodePlaceText(uint32_t offset);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_CODE_PLACE_H_
