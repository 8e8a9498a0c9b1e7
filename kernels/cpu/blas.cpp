#include "kernels/cpu/blas.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "kernels/cpu/simd.h"

namespace lacuna {
namespace {

constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;  // enum values of cblas.h

// What OpenBLAS's own allocator maps for each thread that is in a product (BUFFER_SIZE in its
// common_x86_64.h), and a bit.
constexpr std::size_t kBufferBytes = (std::size_t{32} << 22) + (std::size_t{1} << 20);
// It has places for twice as many buffers as the threads that it was built for, in Debian 64.
constexpr int kMostBuffers = 64;

struct OpenBlas {
  void (*sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
  // Buffers of kBufferBytes, kept for later products when given back; null where they are not
  // exported.
  void* (*take_buffer)(int);
  void (*give_back_buffer)(void*);
  std::string core;
};

/// An environment variable for as long as the library reads it; one set by the user is kept.
class DefaultVariable {
 public:
  DefaultVariable(const char* name, const char* value)
      : name_(name), ours_(value && !std::getenv(name)) {
    if (ours_) setenv(name_, value, 1);
  }
  ~DefaultVariable() {
    if (ours_) unsetenv(name_);
  }
  DefaultVariable(const DefaultVariable&) = delete;
  DefaultVariable& operator=(const DefaultVariable&) = delete;

 private:
  const char* name_;
  bool ours_;
};

/// OpenBLAS goes by a list of processors: 0.3.21 (Debian 12) does not know AMD's with AVX-512 and
/// runs its Haswell kernels there, 127 GFLOP/s on a Zen 5 core that reaches 243 with SkylakeX. Its
/// f32 products on later Intel cores are the SkylakeX ones too, so that name serves all of them.
const char* core_type() {
  if (std::string_view(simd_kernels().name).substr(0, 6) == "avx512") return "SkylakeX";
  const char* chosen = std::getenv("LACUNA_ISA");
  return chosen && std::string_view(chosen) == "avx2" ? "Haswell" : nullptr;
}

template <class Function>
Function symbol(void* library, const char* name) {
  void* found = dlsym(library, name);
  CHECK(found, "libopenblas.so.0 has no function ", name, "; install libopenblas-dev");
  return reinterpret_cast<Function>(found);
}
template <class Function>
Function optional_symbol(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

/// Error when OpenBLAS could not map a buffer: it would try again for ever.
void check_room_for_buffer() {
  void* room =
      mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED, "out of memory: OpenBLAS needs ", human_bytes(kBufferBytes),
        " of address space for each thread, which cannot be had (", std::strerror(errno),
        "); is it limited (ulimit -v)? Fewer threads need less");
  (void)munmap(room, kBufferBytes);
}

/// Loaded by name rather than linked, because the kernels are chosen while it loads.
OpenBlas load() {
  const DefaultVariable core("OPENBLAS_CORETYPE", core_type());
  const DefaultVariable threads("OPENBLAS_NUM_THREADS", "1");  // or it starts one per core
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  CHECK(library, "OpenBLAS cannot be loaded: ", dlerror(), "; is libopenblas-dev installed?");
  symbol<void (*)(int)>(library, "openblas_set_num_threads")(1);
  OpenBlas blas{};
  blas.sgemm = symbol<decltype(blas.sgemm)>(library, "cblas_sgemm");
  blas.core = symbol<const char* (*)()>(library, "openblas_get_corename")();
  blas.take_buffer = optional_symbol<void* (*)(int)>(library, "blas_memory_alloc");
  blas.give_back_buffer = optional_symbol<void (*)(void*)>(library, "blas_memory_free");
  return blas;
}

const OpenBlas& openblas() {
  static const OpenBlas blas = load();
  return blas;
}

/// OpenBLAS with a buffer for each of so many threads: mapped before the first product, so that
/// none is asked for in the middle of a run, when memory is taken.
class BlasBuffers {
 public:
  explicit BlasBuffers(const OpenBlas& blas) : blas_(blas) {}
  ~BlasBuffers() {
    for (void* buffer : taken_) blas_.give_back_buffer(buffer);
  }
  BlasBuffers(const BlasBuffers&) = delete;
  BlasBuffers& operator=(const BlasBuffers&) = delete;
  void take() {
    check_room_for_buffer();
    if (void* buffer = blas_.take_buffer(0)) taken_.push_back(buffer);
  }

 private:
  const OpenBlas& blas_;
  std::vector<void*> taken_;
};

const OpenBlas& openblas_for(int threads) {
  static std::atomic<int> reserved = 0;
  static std::mutex mutex;
  const OpenBlas& blas = openblas();
  threads = std::min(threads, kMostBuffers);
  if (reserved >= threads) return blas;
  const std::lock_guard lock(mutex);
  if (reserved >= threads) return blas;
  if (!blas.take_buffer || !blas.give_back_buffer) {
    check_room_for_buffer();
  } else {
    BlasBuffers buffers(blas);
    for (int i = 0; i < threads; ++i) buffers.take();
  }
  reserved = threads;
  return blas;
}

int as_int(std::int64_t n) {
  CHECK(n <= std::numeric_limits<int>::max(), "a matrix of ", n, " rows or columns is too large");
  return int(n);
}

// Blocks are cut at multiples of this many rows and columns, the largest step of the kernels.
constexpr std::int64_t kStep = 16;

// Of a factor, what is worth a place in the queue of the threads: a core reads it in 3 us.
constexpr std::int64_t kReadBytes = 100'000;

std::int64_t cut(std::int64_t n, std::int64_t i, std::int64_t parts) {
  const std::int64_t steps = (n + kStep - 1) / kStep;
  return std::min(n, steps * i / parts * kStep);
}

}  // namespace

BlockGrid choose_grid(std::int64_t m, std::int64_t n, std::int64_t k, int threads) {
  // Waking the team costs some 10 us, in which one core does about 2 MFLOP.
  const double useful = 2.0 * double(m) * double(n) * double(k) / 2e6;
  const auto wanted = std::clamp<std::int64_t>(std::int64_t(useful), 1, threads);
  const std::int64_t row_steps = (m + kStep - 1) / kStep, col_steps = (n + kStep - 1) / kStep;
  BlockGrid best{1, 1};
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t rows = 1; rows <= std::min(wanted, row_steps); ++rows) {
    const std::int64_t cols = std::min(wanted / rows, col_steps);
    // The time of the largest block, in multiply-adds per element of k: the products themselves,
    // and packing its rows and columns at what 16 of them cost.
    const std::int64_t height = (row_steps + rows - 1) / rows * kStep;
    const std::int64_t width = (col_steps + cols - 1) / cols * kStep;
    const std::int64_t cost = height * width + 16 * (height + width);
    if (cost < least) {
      least = cost;
      best = {rows, cols};
    }
  }
  return best;
}

void for_blocks(ThreadPool& pool, std::int64_t m, std::int64_t n, std::int64_t k,
                const std::function<void(const Block&, int)>& task) {
  const BlockGrid grid = choose_grid(m, n, k, pool.size());
  if (grid.rows * grid.cols == 1) return task({0, m, 0, n}, 0);
  pool.run([&](int thread) {
    if (thread >= grid.rows * grid.cols) return;
    const std::int64_t i = thread / grid.cols, j = thread % grid.cols;
    const std::int64_t top = cut(m, i, grid.rows), left = cut(n, j, grid.cols);
    const std::int64_t rows = cut(m, i + 1, grid.rows) - top;
    const std::int64_t cols = cut(n, j + 1, grid.cols) - left;
    if (rows > 0 && cols > 0) task({top, rows, left, cols}, thread);
  });
}

void for_blocks_by_reading(ThreadPool& pool, std::int64_t m, std::int64_t n, std::int64_t k,
                           std::int64_t bytes, const std::function<void(const Block&, int)>& task) {
  if (m > kFewRows) return for_blocks(pool, m, n, k, task);
  const std::int64_t column = std::max<std::int64_t>(1, k * bytes);
  const std::int64_t width = (kReadBytes / column + kStep) / kStep * kStep;
  if (pool.size() == 1 || n < 2 * width) return task({0, m, 0, n}, 0);
  pool.for_each((n + width - 1) / width, [&](std::int64_t i, int thread) {
    task({0, m, i * width, std::min(width, n - i * width)}, thread);
  });
}

void sgemm(ThreadPool& pool, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, float alpha, const float* a, std::int64_t lda, const float* b,
           std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    return;
  }
  const OpenBlas& blas = openblas_for(pool.size());
  for (const std::int64_t size : {m, n, k, lda, ldb, ldc}) as_int(size);
  for_blocks(pool, m, n, k, [&](const Block& at, int) {
    blas.sgemm(kRowMajor, transpose_a ? kTranspose : kNoTranspose,
               transpose_b ? kTranspose : kNoTranspose, int(at.rows), int(at.cols), int(k), alpha,
               a + (transpose_a ? at.row : at.row * lda), int(lda),
               b + (transpose_b ? at.col * ldb : at.col), int(ldb), beta, c + at.row * ldc + at.col,
               int(ldc));
  });
}

std::string blas_description() { return "OpenBLAS " + openblas().core; }

}  // namespace lacuna
