#include "tests/cuda_emulation/emulator/async_copy.h"

#include <cstring>
#include <vector>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/grid.h"

namespace prefixd::emu {

void CpAsync16(void* shared, const void* global, bool predicate) {
  const void* code = __builtin_return_address(0);
  CheckAligned16(shared, "cp.async to shared memory");
  if (predicate) CheckAligned16(global, "cp.async from global memory");
  if (!IsShared(shared, 16))
    Fault([&] { return std::string("cp.async: the destination is not shared memory"); });
  NoteAccess(shared, 16, Access::kWrite, code);
  if (predicate) NoteAccess(global, 16, Access::kRead, code);
  std::memset(shared, 0xFF, 16);
  current_thread->copies.push_back(
      {shared, predicate ? global : nullptr, current_thread->copy_group});
}

void CpAsyncCommit() { ++current_thread->copy_group; }

void CpAsyncWait(int newest_groups) {
  const void* code = __builtin_return_address(0);
  std::vector<PendingCopy>& copies = current_thread->copies;
  const int end = current_thread->copy_group - newest_groups;
  size_t done = 0;
  for (; done < copies.size() && copies[done].group < end; ++done) {
    const PendingCopy& copy = copies[done];
    NoteAccess(copy.shared, 16, Access::kWrite, code);
    if (copy.global == nullptr) {
      std::memset(copy.shared, 0, 16);
    } else {
      NoteAccess(copy.global, 16, Access::kRead, code);
      std::memcpy(copy.shared, copy.global, 16);
    }
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace prefixd::emu
