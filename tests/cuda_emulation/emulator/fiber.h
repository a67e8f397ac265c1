// A stack of its own for every thread of a block, and the switch between them. Everything runs on
// the OS thread that calls Resume. On x86-64 a switch is 15 instructions; elsewhere ucontext.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_FIBER_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_FIBER_H_

#include <cstddef>
#include <cstdint>

namespace prefixd::emu {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next Resume calls `entry`, which must not return: it ends with Suspend(true). What ran
  // here before is forgotten, without destructors.
  void Start(void (*entry)());

  // From outside all fibers: runs this one until it suspends itself.
  void Resume();
  // From within this fiber: returns to who resumed it. `for_ever`: it is not resumed again.
  void Suspend(bool for_ever);

  bool HasOnStack(uintptr_t address) const {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(stack_);
    return address - begin < kStackBytes;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kStackBytes = 512 << 10;
#else
  static constexpr size_t kStackBytes = 128 << 10;
#endif
  static void Enter();

  unsigned char* stack_ = nullptr;  // Below it lies a page that nobody may touch.
  size_t offset_ = 0;               // Stacks begin in different cache sets.
  void* context_ = nullptr;
  void* fake_stack_ = nullptr;  // AddressSanitizer's.
  void* tsan_fiber_ = nullptr;  // ThreadSanitizer's.
  bool abandoned_ = false;      // Frames that never returned may lie here.
  void (*entry_)() = nullptr;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_FIBER_H_
