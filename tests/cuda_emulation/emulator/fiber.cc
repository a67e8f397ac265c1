#include "tests/cuda_emulation/emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PREFIXD_EMU_TSAN  // ThreadSanitizer watches the rest of the program.
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__)
#define PREFIXD_EMU_UCONTEXT
#endif
#ifdef PREFIXD_EMU_UCONTEXT
#include <ucontext.h>
#endif

namespace prefixd::emu {
namespace {

size_t GuardBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

Fiber* running = nullptr;
void* outside = nullptr;  // The context that resumed `running`.

#if defined(__SANITIZE_ADDRESS__)
const void* outside_stack = nullptr;
size_t outside_stack_bytes = 0;
#endif
#ifdef PREFIXD_EMU_TSAN
void* outside_tsan_fiber = nullptr;
#endif

}  // namespace

#ifdef PREFIXD_EMU_UCONTEXT
static void Switch(void** save, void** load) {
  if (*save == nullptr) *save = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(*save), static_cast<ucontext_t*>(*load));
}
#else
// Saves the registers that a call preserves (System V ABI, AMD64) and the stack, and takes those of
// the other side.
extern "C" void prefixd_emu_switch(void** save, void* load);
asm(R"(
.text
.globl prefixd_emu_switch
.type prefixd_emu_switch,@function
prefixd_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size prefixd_emu_switch, .-prefixd_emu_switch
)");
static void Switch(void** save, void** load) { prefixd_emu_switch(save, *load); }
#endif

Fiber::Fiber() {
  void* memory = mmap(nullptr, kStackBytes + GuardBytes(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, GuardBytes(), PROT_NONE) != 0) {
    std::perror("emulator: no stack for a fiber");
    std::abort();
  }
  stack_ = static_cast<unsigned char*>(memory) + GuardBytes();
  static size_t num_fibers = 0;
  offset_ = num_fibers++ * 320 % 4096;
}

Fiber::~Fiber() {
#ifdef PREFIXD_EMU_TSAN
  if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
#endif
#ifdef PREFIXD_EMU_UCONTEXT
  delete static_cast<ucontext_t*>(context_);
#endif
  munmap(stack_ - GuardBytes(), kStackBytes + GuardBytes());
}

void Fiber::Start(void (*entry)()) {
  entry_ = entry;
  fake_stack_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  if (abandoned_) __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
#ifdef PREFIXD_EMU_TSAN
  if (abandoned_ && tsan_fiber_ != nullptr) {
    __tsan_destroy_fiber(tsan_fiber_);
    tsan_fiber_ = nullptr;
  }
  if (tsan_fiber_ == nullptr) tsan_fiber_ = __tsan_create_fiber(0);
#endif
  abandoned_ = true;
#ifdef PREFIXD_EMU_UCONTEXT
  if (context_ == nullptr) context_ = new ucontext_t;
  ucontext_t* context = static_cast<ucontext_t*>(context_);
  getcontext(context);
  context->uc_stack.ss_sp = stack_;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, &Fiber::Enter, 0);
#else
  // What Switch takes: six registers and an address to return to, after which the stack is as it
  // would be after a call.
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes - offset_);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::Enter);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context_ = top;
#endif
}

void Fiber::Enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack, &outside_stack_bytes);
#endif
  running->entry_();
  std::abort();
}

void Fiber::Resume() {
  running = this;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_, kStackBytes);
#endif
#ifdef PREFIXD_EMU_TSAN
  outside_tsan_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
  Switch(&outside, &context_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  running = nullptr;
}

void Fiber::Suspend(bool for_ever) {
  abandoned_ = !for_ever;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack_, outside_stack,
                                 outside_stack_bytes);
#endif
#ifdef PREFIXD_EMU_TSAN
  __tsan_switch_to_fiber(outside_tsan_fiber, 0);
#endif
  Switch(&context_, &outside);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_stack, &outside_stack_bytes);
#endif
}

}  // namespace prefixd::emu
