#include "kernels/platform/emulated/device_memory.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace lacuna::emulator {
namespace {

constexpr std::size_t kPage = 4096, kAlignment = 256;

/// The pages of an allocation: [slack][bytes][up to 255 more][guard page].
struct Pages {
  char* first;
  std::size_t size;  // without the guard page
};

// Never destroyed: device memory may outlive main().
struct State {
  std::mutex mutex;
  std::map<void*, Pages> allocations;
  int users = 0;
};
State& state() {
  static auto* s = new State;
  return *s;
}

std::size_t rounded(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

void* allocate_device_memory(std::int64_t bytes) {
  const std::size_t used = rounded(std::size_t(bytes ? bytes : 1), kAlignment);
  const std::size_t size = rounded(used, kPage);
  void* mapped =
      mmap(nullptr, size + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* first = static_cast<char*>(mapped);
  void* memory = first + (size - used);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(first, size);
  ASAN_UNPOISON_MEMORY_REGION(memory, std::size_t(bytes));
#endif
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.users) mprotect(first, size, PROT_READ | PROT_WRITE);
  s.allocations[memory] = {first, size};
  return memory;
}

void release_device_memory(void* memory, std::int64_t) noexcept {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.allocations.find(memory);
  if (found == s.allocations.end()) return;
  const Pages p = found->second;
  s.allocations.erase(found);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(p.first, p.size);
#endif
  munmap(p.first, p.size + kPage);
}

void clear_device_memory(void* memory, std::size_t bytes) {
  auto* const begin = static_cast<char*>(memory);
  const std::size_t before = (kPage - reinterpret_cast<std::uintptr_t>(begin) % kPage) % kPage;
  const std::size_t pages = bytes > before ? (bytes - before) / kPage * kPage : 0;
  if (pages == 0 || madvise(begin + before, pages, MADV_DONTNEED) != 0) {
    std::memset(begin, 0, bytes);
    return;
  }
  std::memset(begin, 0, before);
  std::memset(begin + before + pages, 0, bytes - before - pages);
}

DeviceAccess::DeviceAccess() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.users++ == 0)
    for (const auto& [memory, p] : s.allocations) mprotect(p.first, p.size, PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (--s.users == 0)
    for (const auto& [memory, p] : s.allocations) mprotect(p.first, p.size, PROT_NONE);
}

}  // namespace lacuna::emulator
