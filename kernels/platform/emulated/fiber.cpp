#include "kernels/platform/emulated/fiber.h"

#include <sys/mman.h>

#include <cstdlib>

#include "core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(LACUNA_TSAN)  // this file itself is not instrumented, so __SANITIZE_THREAD__ is not set
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__x86_64__)
extern "C" void lacuna_switch_stack(void** save, void* load);
asm(R"(
.text
.globl lacuna_switch_stack
.type lacuna_switch_stack,@function
lacuna_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lacuna_switch_stack,.-lacuna_switch_stack
)");
#endif

namespace lacuna::emulator {
namespace {

constexpr std::size_t kPage = 4096, kStack = 256 * 1024;

// The scheduler's own stack. One launch runs at a time (kernels/platform/emulated/emulator.cpp).
void* scheduler_context = nullptr;
#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_bottom = nullptr;
std::size_t scheduler_size = 0;
#endif
#if defined(LACUNA_TSAN)
void* scheduler_tsan = nullptr;
#endif

void (*entry_point)() = nullptr;

#if defined(__x86_64__)

void* fresh_context(char* stack, void (*begin)()) {
  auto** top = reinterpret_cast<void**>(stack + kStack);
  *--top = nullptr;  // where begin() would return to: it never does
  *--top = reinterpret_cast<void*>(begin);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  return top;
}
void release_context(void*) {}
void switch_context(void** save, void* load) { lacuna_switch_stack(save, load); }

#else

void* fresh_context(char* stack, void (*begin)()) {
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = kStack;
  context->uc_link = nullptr;
  makecontext(context, begin, 0);
  return context;
}
void release_context(void* context) { delete static_cast<ucontext_t*>(context); }
void switch_context(void** save, void* load) {
  if (!*save) *save = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(*save), static_cast<ucontext_t*>(load));
}

#endif

void begin() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  entry_point();
  std::abort();  // entry_point leaves for good
}

}  // namespace

Fiber::Fiber() {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED, "emulator: no memory for a thread's stack");
  stack_ = static_cast<char*>(memory) + kPage;
  mprotect(memory, kPage, PROT_NONE);
}

Fiber::~Fiber() {
#if defined(LACUNA_TSAN)
  if (tsan_) __tsan_destroy_fiber(tsan_);
#endif
  release_context(context_);
  munmap(stack_ - kPage, kPage + kStack);
}

void Fiber::start(void (*entry)()) {
  entry_point = entry;
  release_context(context_);
  context_ = fresh_context(stack_, begin);
#if defined(__SANITIZE_ADDRESS__)
  if (!clean_) ASAN_UNPOISON_MEMORY_REGION(stack_, kStack);
  fake_stack_ = nullptr;
#endif
#if defined(LACUNA_TSAN)
  if (tsan_ && !clean_) {
    __tsan_destroy_fiber(tsan_);
    tsan_ = nullptr;
  }
  if (!tsan_) tsan_ = __tsan_create_fiber(0);
#endif
  clean_ = false;
}

void Fiber::enter() {
#if defined(LACUNA_TSAN)
  scheduler_tsan = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack_, kStack);
#endif
  switch_context(&scheduler_context, context_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::leave(bool finished) {
  clean_ = finished;
#if defined(LACUNA_TSAN)
  __tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(finished ? nullptr : &fake_stack_, scheduler_bottom,
                                 scheduler_size);
#endif
  switch_context(&context_, scheduler_context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_bottom, &scheduler_size);
#endif
}

void happens_before([[maybe_unused]] void* at) {
#if defined(LACUNA_TSAN)
  __tsan_release(at);
#endif
}

void happens_after([[maybe_unused]] void* at) {
#if defined(LACUNA_TSAN)
  __tsan_acquire(at);
#endif
}

}  // namespace lacuna::emulator
