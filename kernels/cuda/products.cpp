#include "kernels/cuda/products.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <vector>

#include "core/check.h"
#include "kernels/cuda/stream.h"

namespace lacuna {
namespace {

// What NVIDIA recommends for Hopper; more than enough before.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kMostAlgorithms = 16;  // of which the first is taken, or the fastest

void check(cublasStatus_t status, const char* op) {
  CHECK(status == CUBLAS_STATUS_SUCCESS, op, ": ", cublasLtGetStatusString(status), " (",
        cublasLtGetStatusName(status), ")");
}

template <auto Close>
struct Closer {
  template <class H>
  void operator()(H* h) const noexcept {
    (void)Close(h);
  }
};
template <class Handle, auto Close>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Closer<Close>>;
using Handle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t type_of(DType t) { return t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

/// The largest power of two, up to 256, that divides an address: algorithms differ in what they
/// need.
std::uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p) | 256;
  return std::uint32_t(address & (~address + 1));
}

/// What an algorithm is chosen by.
using Key =
    std::tuple<bool, bool, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
               std::int64_t, DType, DType, bool, std::uint32_t, std::uint32_t, std::uint32_t>;
Key key_of(const Product& p) {
  return {p.transpose_a,
          p.transpose_b,
          p.m,
          p.n,
          p.k,
          p.lda,
          p.ldb,
          p.ldc,
          p.factors,
          p.result,
          p.accumulate,
          alignment_of(p.a),
          alignment_of(p.b),
          alignment_of(p.c)};
}

struct Prepared {
  Description description;
  Layout first, second, result;
  cublasLtMatmulAlgo_t algorithm;
};

Layout layout_of(const char* op, DType type, std::int64_t rows, std::int64_t cols,
                 std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(type), std::uint64_t(rows), std::uint64_t(cols),
                                   stride),
        op);
  return Layout(layout);
}

}  // namespace

struct Products::State {
  State(Device& d, bool times) : device(d), time_algorithms(times) {
    cublasLtHandle_t h = nullptr;
    check(cublasLtCreate(&h), "cublasLt");
    handle.reset(h);
    workspace = device.memory().allocate(std::int64_t{kWorkspaceBytes});
  }
  ~State() { device.memory().release(workspace, std::int64_t{kWorkspaceBytes}); }

  const Prepared& prepared(const char* op, const Product& p);
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(const char* op, const Product& p,
                                                          const Prepared& with) const;
  cublasLtMatmulAlgo_t fastest(const char* op, const Product& p, const Prepared& with) const;
  cublasStatus_t run(const Product& p, const Prepared& with, const cublasLtMatmulAlgo_t& algorithm,
                     void* result) const;

  Device& device;
  const bool time_algorithms;
  Handle handle;
  void* workspace = nullptr;
  std::map<Key, Prepared> known;
};

// cuBLASLt's matrices are column-major: c^T = op(b)^T op(a)^T is what it computes, b first, and a
// row-major matrix is its transpose to it, so transposition flags stay as they are.
const Prepared& Products::State::prepared(const char* op, const Product& p) {
  const Key key = key_of(p);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  Prepared made{};
  cublasLtMatmulDesc_t description = nullptr;
  check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), op);
  made.description.reset(description);
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
    const cublasOperation_t value = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value), op);
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
  made.first =
      layout_of(op, p.factors, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb);
  made.second =
      layout_of(op, p.factors, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda);
  made.result = layout_of(op, p.result, p.n, p.m, p.ldc);
  made.algorithm = time_algorithms ? fastest(op, p, made) : candidates(op, p, made)[0].algo;
  return known.emplace(key, std::move(made)).first->second;
}

std::vector<cublasLtMatmulHeuristicResult_t> Products::State::candidates(
    const char* op, const Product& p, const Prepared& with) const {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), op);
  const Preference owner(preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), op);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
  // Blocks that share a sum may add up their parts in f32 alone, not in the result's type.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.c));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.c));
  std::vector<cublasLtMatmulHeuristicResult_t> found{kMostAlgorithms};
  int count = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle.get(), with.description.get(), with.first.get(),
                                       with.second.get(), with.result.get(), with.result.get(),
                                       preference, kMostAlgorithms, found.data(), &count),
        op);
  found.resize(std::size_t(count));
  std::erase_if(found, [](const auto& f) { return f.state != CUBLAS_STATUS_SUCCESS; });
  CHECK(!found.empty(), op, ": cuBLASLt has no algorithm for a product of [", p.m, ",", p.k,
        "] and [", p.k, ",", p.n, "] ", p.factors, " to ", p.result);
  return found;
}

/// Each candidate twice on the real factors, into memory of its own as c may be one of the
/// summands; the faster of its runs counts.
cublasLtMatmulAlgo_t Products::State::fastest(const char* op, const Product& p,
                                              const Prepared& with) const {
  const auto all = candidates(op, p, with);
  const std::int64_t bytes = ((p.m - 1) * p.ldc + p.n) * size_of(p.result);
  if (bytes > device.memory().available()) return all[0].algo;
  void* result = device.memory().allocate(bytes);
  auto best = all[0].algo;
  double best_time = std::numeric_limits<double>::infinity();
  for (const auto& candidate : all) {
    for (int turn = 0; turn < 2; ++turn) {
      const Event begin(device.stream(), Event::Kind::time);
      if (run(p, with, candidate.algo, result) != CUBLAS_STATUS_SUCCESS) break;
      const Event end(device.stream(), Event::Kind::time);
      end.wait();
      const double time = end.seconds_since(begin);
      if (time < best_time) {
        best_time = time;
        best = candidate.algo;
      }
    }
  }
  device.memory().release(result, bytes);
  return best;
}

cublasStatus_t Products::State::run(const Product& p, const Prepared& with,
                                    const cublasLtMatmulAlgo_t& algorithm, void* result) const {
  const float alpha = 1, beta = p.accumulate ? 1 : 0;
  return cublasLtMatmul(handle.get(), with.description.get(), &alpha, p.b, with.first.get(), p.a,
                        with.second.get(), &beta, p.c, with.result.get(), result, with.result.get(),
                        &algorithm, workspace, kWorkspaceBytes, device.stream());
}

Products::Products(Device& device, bool time_algorithms)
    : state_(std::make_unique<State>(device, time_algorithms)) {}
Products::~Products() = default;

void Products::multiply(const char* op, const Product& p) {
  const Prepared& with = state_->prepared(op, p);
  check(state_->run(p, with, with.algorithm, p.c), op);
  check_launch(op);
}

}  // namespace lacuna
