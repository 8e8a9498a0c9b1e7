#include "kernels/platform/gemm.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "kernels/platform/gemm_table.h"
#include "kernels/platform/gpu/cuda_error.h"
#include "kernels/platform/stream.h"

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

cudaDataType_t type_of(DType t) {
  switch (t) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::e4m3:
      return CUDA_R_8F_E4M3;
    case DType::e5m2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;
  }
}

struct Prepared {
  Description description;
  Layout first, second, result;
  cublasLtMatmulAlgo_t algorithm;
  bool tuned;  // else it is the library's first choice
};

cublasOperation_t operation_of(bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }

template <class T>
void set_attribute(const char* op, const Prepared& of, cublasLtMatmulDescAttributes_t attribute,
                   const T& value) {
  check(cublasLtMatmulDescSetAttribute(of.description.get(), attribute, &value, sizeof value), op);
}

/// Of FP8, where they are on the device: products of one shape share a description.
void set_factors(const char* op, const Gemm& p, const Prepared& with) {
  if (!p.a_factor) return;
  set_attribute(op, with, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.b_factor);
  set_attribute(op, with, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.a_factor);
}

GemmAlgorithm words_of(const cublasLtMatmulAlgo_t& algorithm) {
  static_assert(sizeof algorithm.data == sizeof(GemmAlgorithm));
  GemmAlgorithm words;
  std::copy(std::begin(algorithm.data), std::end(algorithm.data), words.begin());
  return words;
}

/// All that an algorithm's meaning and speed depend on.
std::string description_of(const Device& device) {
  int driver = 0;
  lacuna::check(cudaDriverGetVersion(&driver), "cuda");
  return str(device.description(), ", cuBLASLt ", cublasLtGetVersion(), ", driver for CUDA ",
             driver);
}

Layout layout_of(const char* op, DType type, std::int64_t rows, std::int64_t cols,
                 std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(type), std::uint64_t(rows), std::uint64_t(cols),
                                   stride),
        op);
  return Layout(layout);
}

}  // namespace

struct GemmRunner::State {
  State(Device& d, bool times) : device(d), time_algorithms(times), table(description_of(d)) {
    cublasLtHandle_t h = nullptr;
    check(cublasLtCreate(&h), "cublasLt");
    handle.reset(h);
    workspace = device.memory().allocate(std::int64_t{kWorkspaceBytes});
  }
  ~State() { device.memory().release(workspace, std::int64_t{kWorkspaceBytes}); }

  const Prepared& prepared(const char* op, const Gemm& p);
  Prepared described(const char* op, const Gemm& p) const;
  bool take_from_table(const GemmShape& shape, Prepared& with) const;
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(const char* op, const Gemm& p,
                                                          const Prepared& with) const;
  void tune(const char* op, const Gemm& p, Prepared& with);
  cublasStatus_t run(const Gemm& p, const Prepared& with,
                     const cublasLtMatmulAlgo_t& algorithm) const;

  Device& device;
  const bool time_algorithms;
  bool tuning = false;  // what products write does not matter
  Handle handle;
  void* workspace = nullptr;
  std::map<GemmShape, Prepared> known;
  GemmTable table;
};

const Prepared& GemmRunner::State::prepared(const char* op, const Gemm& p) {
  const GemmShape shape(p);
  auto found = known.find(shape);
  if (found == known.end()) {
    Prepared made = described(op, p);
    if (!take_from_table(shape, made)) made.algorithm = candidates(op, p, made)[0].algo;
    found = known.emplace(shape, std::move(made)).first;
  }
  Prepared& with = found->second;
  set_factors(op, p, with);
  if (tuning && time_algorithms && !with.tuned) tune(op, p, with);
  return with;
}

// cuBLASLt's matrices are column-major: c^T = op(b)^T op(a)^T is what it computes, b first, and a
// row-major matrix is its transpose to it, so transposition flags stay as they are.
Prepared GemmRunner::State::described(const char* op, const Gemm& p) const {
  Prepared made{};
  cublasLtMatmulDesc_t description = nullptr;
  check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), op);
  made.description.reset(description);
  set_attribute(op, made, CUBLASLT_MATMUL_DESC_TRANSA, operation_of(p.transpose_b));
  set_attribute(op, made, CUBLASLT_MATMUL_DESC_TRANSB, operation_of(p.transpose_a));
  if (p.factors == DType::e4m3)
    set_attribute(op, made, CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
  set_factors(op, p, made);
  made.first =
      layout_of(op, p.b_type(), p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb);
  made.second =
      layout_of(op, p.factors, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda);
  made.result = layout_of(op, p.result, p.n, p.m, p.ldc);
  return made;
}

/// The algorithm of an earlier run, if there is one and this library takes it.
bool GemmRunner::State::take_from_table(const GemmShape& shape, Prepared& with) const {
  const GemmAlgorithm* words = table.find(shape);
  if (!words) return false;
  cublasLtMatmulAlgo_t algorithm{};
  std::copy(words->begin(), words->end(), std::begin(algorithm.data));
  cublasLtMatmulHeuristicResult_t result{};
  if (cublasLtMatmulAlgoCheck(handle.get(), with.description.get(), with.first.get(),
                              with.second.get(), with.result.get(), with.result.get(), &algorithm,
                              &result) != CUBLAS_STATUS_SUCCESS ||
      result.state != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kWorkspaceBytes)
    return false;
  with.algorithm = algorithm;
  with.tuned = true;
  return true;
}

std::vector<cublasLtMatmulHeuristicResult_t> GemmRunner::State::candidates(
    const char* op, const Gemm& p, const Prepared& with) const {
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
  const GemmShape shape(p);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.b_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.a_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.c_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.c_alignment);
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

/// Takes the fastest candidate. Each runs twice, on the real factors and into the real result,
/// which does not matter now, so that no memory of its own is needed; the faster of its runs
/// counts.
void GemmRunner::State::tune(const char* op, const Gemm& p, Prepared& with) {
  double best_time = std::numeric_limits<double>::infinity();
  for (const auto& candidate : candidates(op, p, with)) {
    for (int turn = 0; turn < 2; ++turn) {
      const Event begin(device.stream(), Event::Kind::time);
      if (run(p, with, candidate.algo) != CUBLAS_STATUS_SUCCESS) break;
      const Event end(device.stream(), Event::Kind::time);
      end.wait();
      const double time = end.seconds_since(begin);
      if (time >= best_time) continue;
      best_time = time;
      with.algorithm = candidate.algo;
      with.tuned = true;
    }
  }
  if (with.tuned) table.set(GemmShape(p), words_of(with.algorithm));
}

cublasStatus_t GemmRunner::State::run(const Gemm& p, const Prepared& with,
                                      const cublasLtMatmulAlgo_t& algorithm) const {
  const float alpha = 1, beta = p.accumulate ? 1 : 0;
  return cublasLtMatmul(handle.get(), with.description.get(), &alpha, p.b, with.first.get(), p.a,
                        with.second.get(), &beta, p.c, with.result.get(), p.c, with.result.get(),
                        &algorithm, workspace, kWorkspaceBytes, device.stream());
}

GemmRunner::GemmRunner(Device& device, bool time_algorithms)
    : state_(std::make_unique<State>(device, time_algorithms)) {}
GemmRunner::~GemmRunner() = default;

void GemmRunner::multiply(const char* op, const Gemm& p) {
  const Prepared& with = state_->prepared(op, p);
  check(state_->run(p, with, with.algorithm), op);
  check_launch(op);
}

void GemmRunner::tune(const std::function<void()>& work) {
  const WhileTrue tuning(state_->tuning);
  work();
}

std::string GemmRunner::algorithms() const {
  return state_->time_algorithms ? state_->table.text() : std::string();
}

void GemmRunner::use_algorithms(const std::string& text) {
  if (!state_->time_algorithms) return;
  state_->table.read(text);
  for (auto& [shape, with] : state_->known) (void)state_->take_from_table(shape, with);
}

}  // namespace lacuna
