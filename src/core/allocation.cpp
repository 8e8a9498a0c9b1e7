// Replaces the global operator new, so that the std::bad_alloc of a failed allocation says how
// large it was: "std::bad_alloc" alone names no size. Sanitizers keep their own.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define LACUNA_SANITIZER_ALLOCATES 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LACUNA_SANITIZER_ALLOCATES 1
#endif

#if !defined(LACUNA_SANITIZER_ALLOCATES)
namespace {

class SizedBadAlloc : public std::bad_alloc {
 public:
  explicit SizedBadAlloc(std::size_t bytes) noexcept {
    // Nothing here may allocate.
    const double mebibytes = double(bytes) / 0x1p20;
    if (mebibytes >= 1024)
      std::snprintf(text_, sizeof text_, "out of memory: %.1f GiB in one piece cannot be had",
                    mebibytes / 1024);
    else
      std::snprintf(text_, sizeof text_, "out of memory: another %.3f MiB cannot be had",
                    mebibytes);
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[80];
};

}  // namespace

void* operator new(std::size_t bytes) {
  for (;;) {
    if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
    const std::new_handler handler = std::get_new_handler();
    if (!handler) throw SizedBadAlloc(bytes);
    handler();
  }
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif
