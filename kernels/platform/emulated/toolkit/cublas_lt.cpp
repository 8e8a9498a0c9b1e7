#include "kernels/platform/emulated/toolkit/cublas_lt.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/host_gemm.h"

// Products of cuBLASLt: which algorithms there are for one, and what they compute.

namespace lacuna::toolkit {

namespace {

constexpr Algorithm kAll[] = {Algorithm::split_k_rounded, Algorithm::split_k_in_place,
                              Algorithm::tiled, Algorithm::split_k, Algorithm::general};
constexpr int kParts = 2;                  // of k, where it is split
constexpr std::uint64_t kCounters = 4096;  // workspace of an in-place reduction
constexpr std::uint64_t kWorkspaceAlignment = 256;
constexpr std::uint64_t kMark = 0x4c6163756e614c74;  // first in an algorithm of ours

struct Settings {
  Blas blas;
  Algorithm last{};
};
Settings& settings() {
  static auto* s = new Settings;
  return *s;
}

/// What an algorithm is chosen for; not the sizes, for which it may be used as well.
std::uint64_t kind_of(const LtProduct& p) {
  return std::uint64_t(p.transpose_a) | std::uint64_t(p.transpose_b) << 1 |
         std::uint64_t(p.a.type) << 8 | std::uint64_t(p.d.type) << 16 |
         std::uint64_t(p.b.type) << 24;
}

bool is_multiple(const void* p, std::uint64_t of) {
  return reinterpret_cast<std::uintptr_t>(p) % of == 0;
}

}  // namespace

Blas& blas() { return settings().blas; }
void set_blas(Blas b) {
  const Lock lock(state().mutex);
  settings().blas = std::move(b);
}
Algorithm last_algorithm() {
  const Lock lock(state().mutex);
  return settings().last;
}

Demands demands_of(Algorithm algorithm, const LtProduct& p) {
  const std::uint64_t results = p.m * p.n;
  switch (algorithm) {
    case Algorithm::tiled:
      return {16, 0, CUBLASLT_REDUCTION_SCHEME_NONE};
    case Algorithm::general:
      return {p.a.element(), 0, CUBLASLT_REDUCTION_SCHEME_NONE};
    case Algorithm::split_k:
      return {16, kParts * results * sizeof(float), CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE};
    case Algorithm::split_k_in_place:
      return {p.a.element(), kCounters, CUBLASLT_REDUCTION_SCHEME_INPLACE};
    case Algorithm::split_k_rounded:
      return {p.a.element(), kParts * results * p.d.element(),
              CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE};
  }
  return {};
}

bool strides_allow(std::uint64_t alignment, const LtProduct& p) {
  for (const MatrixLayout* m : {&p.a, &p.b, &p.c, &p.d})
    if (m->cols > 1 && std::uint64_t(m->stride) * m->element() % alignment) return false;
  return true;
}

cublasLtMatmulAlgo_t written(Algorithm algorithm, const LtProduct& p, bool valid) {
  return {{kMark, std::uint64_t(algorithm), kind_of(p), valid, 0, 0, 0, 0}};
}

std::optional<Algorithm> read(const char* function, const cublasLtMatmulAlgo_t& algorithm,
                              const LtProduct& p) {
  const auto& [mark, id, kind, valid, e, f, g, h] = algorithm.data;
  const char* fault = nullptr;
  if (mark != kMark || id > std::uint64_t(Algorithm::split_k_rounded))
    fault = ": an algorithm that the heuristic never gave";
  else if (!valid)
    fault = ": the algorithm of an entry whose state is an error";
  else if (kind != kind_of(p))
    fault = ": an algorithm for products of other types or transpositions";
  if (!fault) return Algorithm(id);
  note_violation(str(function, fault));
  return std::nullopt;
}

namespace {

/// Whether the heuristic would list it.
bool is_listed(Algorithm algorithm, const LtProduct& p,
               const cublasLtMatmulPreferenceOpaque_t& preference) {
  const Demands d = demands_of(algorithm, p);
  const bool splits = d.reduction != CUBLASLT_REDUCTION_SCHEME_NONE;
  const auto least = *std::min_element(preference.alignment, preference.alignment + 4);
  return !blas().missing.count(algorithm) && (!splits || p.k >= kParts) &&
         (!splits || (preference.reductions & d.reduction)) &&
         d.workspace <= preference.workspace && least % d.alignment == 0 &&
         strides_allow(d.alignment, p);
}

/// The same product with the roles of kernels/platform/gemm.h: row-major, b first.
Gemm row_major(const LtProduct& p, const void* a, const void* b, void* d) {
  const auto type = [](cudaDataType t) {
    if (t == CUDA_R_8F_E4M3) return DType::e4m3;
    if (t == CUDA_R_8F_E5M2) return DType::e5m2;
    return t == CUDA_R_16BF ? DType::bf16 : DType::f32;
  };
  Gemm r{};
  r.transpose_a = p.transpose_b;
  r.transpose_b = p.transpose_a;
  r.m = std::int64_t(p.n);
  r.n = std::int64_t(p.m);
  r.k = std::int64_t(p.k);
  r.a = b;
  r.lda = p.b.stride;
  r.b = a;
  r.ldb = p.a.stride;
  r.c = d;
  r.ldc = p.d.stride;
  r.factors = type(p.b.type);
  r.a_factor = p.b_scale;
  r.b_factor = p.a_scale;
  r.result = type(p.d.type);
  return r;
}

/// What is left of a product's sum from its term `first` on, or before it.
Gemm terms(const Gemm& p, std::int64_t first, std::int64_t count) {
  const auto further = [&](const void* data, std::int64_t elements) {
    return static_cast<const char*>(data) + elements * size_of(p.factors);
  };
  Gemm part = p;
  part.k = count;
  part.a = further(p.a, p.transpose_a ? first * p.lda : first);
  part.b = further(p.b, p.transpose_b ? first : first * p.ldb);
  return part;
}

struct Run {
  Algorithm algorithm;
  Gemm product;
  float alpha, beta;
  const void* addend;
  std::uint64_t addend_stride;
  void* workspace;
  std::uint64_t workspace_bytes;
};

/// The addend where the result will be. Within a DeviceAccess, as compute().
void bring_addend(const Run& r) {
  if (r.beta == 0 || r.addend == r.product.c) return;
  const auto element = std::size_t(size_of(r.product.result));
  for (std::int64_t row = 0; row < r.product.m; ++row)
    std::memcpy(static_cast<char*>(r.product.c) + std::size_t(row * r.product.ldc) * element,
                static_cast<const char*>(r.addend) + std::size_t(row) * r.addend_stride * element,
                std::size_t(r.product.n) * element);
}

void compute(const Run& r) {
  static auto* pool = new ThreadPool(1);
  const Gemm& p = r.product;
  const emulator::DeviceAccess access;
  if (r.workspace_bytes) std::memset(r.workspace, 0xff, r.workspace_bytes);
  bring_addend(r);
  const bool rounds =
      r.algorithm == Algorithm::split_k_in_place || r.algorithm == Algorithm::split_k_rounded;
  if (!rounds) return emulator::multiply(*pool, p, r.alpha, p.c, r.beta);
  const std::int64_t half = p.k / kParts;
  emulator::multiply(*pool, terms(p, 0, half), r.alpha, p.c, r.beta);
  emulator::multiply(*pool, terms(p, half, p.k - half), r.alpha, p.c, 1);
}

struct Pointers {
  const void *a, *b, *c;
  void* d;
  void* workspace;
  std::size_t workspace_bytes;
};

/// The rule that the call breaks, or "".
std::string fault_of(const LtProduct& p, const Demands& demands, const Pointers& at, float beta) {
  const struct {
    const char* name;
    const void* data;
    std::uint64_t bytes;
    bool used;
  } matrices[] = {{"a", at.a, p.a.bytes(), true},
                  {"b", at.b, p.b.bytes(), true},
                  {"c", at.c, p.c.bytes(), beta != 0},
                  {"d", at.d, p.d.bytes(), true}};
  const auto is_device_memory = [](const void* data, std::uint64_t bytes) {
    const std::optional<Block> block = block_of(data, bytes);
    return block && block->kind == Kind::device;
  };
  for (const auto& [name, data, bytes, used] : matrices) {
    if (!used) continue;
    if (!is_device_memory(data, bytes))
      return str(name, " of ", bytes, " bytes is not within device memory");
    if (!is_multiple(data, demands.alignment))
      return str(name, " is not aligned to the ", demands.alignment, " bytes of its algorithm");
  }
  if (!strides_allow(demands.alignment, p))
    return str("strides are no multiples of the ", demands.alignment, " bytes of the algorithm");
  const auto overlap = [](const void* x, std::uint64_t n, const void* y, std::uint64_t m) {
    return static_cast<const char*>(x) < static_cast<const char*>(y) + m &&
           static_cast<const char*>(y) < static_cast<const char*>(x) + n;
  };
  for (int i = 0; i < 2; ++i)
    if (overlap(matrices[i].data, matrices[i].bytes, at.d, p.d.bytes()))
      return str("d overlaps ", matrices[i].name);
  if (beta != 0 && overlap(at.c, p.c.bytes(), at.d, p.d.bytes()) && (at.c != at.d || !(p.c == p.d)))
    return "d overlaps c and is not c";
  if (at.workspace_bytes < demands.workspace)
    return str("a workspace of ", at.workspace_bytes, " bytes; the algorithm needs ",
               demands.workspace);
  if (demands.workspace && !is_multiple(at.workspace, kWorkspaceAlignment))
    return str("a workspace that is not aligned to ", kWorkspaceAlignment);
  if (demands.workspace && !is_device_memory(at.workspace, at.workspace_bytes))
    return "a workspace that is not within device memory";
  return "";
}

/// A host pointer to a factor.
bool read_factor(const void* at, float* value) {
  if (!at || block_of(at, 1)) return false;
  std::memcpy(value, at, sizeof *value);
  return true;
}

}  // namespace
}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* count) {
  const char* const name = "cublasLtMatmulAlgoGetHeuristic";
  count_call(name);
  *count = 0;
  cublasStatus_t error{};
  const std::optional<LtProduct> p = product_of(name, handle, description, a, b, c, d, &error);
  if (!p) return error;
  if (!exists(preference) || most < 1)
    return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": no preference, or no result asked for");
  for (const Algorithm algorithm : kAll) {
    if (*count == most || !is_listed(algorithm, *p, *preference)) continue;
    const bool valid = !blas().in_error_state.count(algorithm);
    cublasLtMatmulHeuristicResult_t& r = results[(*count)++];
    r = {};
    r.algo = written(algorithm, *p, valid);
    r.workspaceSize = std::size_t(demands_of(algorithm, *p).workspace);
    r.state = valid ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    r.wavesCount = 1;
  }
  return *count ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  const char* const name = "cublasLtMatmulAlgoCheck";
  count_call(name);
  cublasStatus_t error{};
  const std::optional<LtProduct> p = product_of(name, handle, description, a, b, c, d, &error);
  if (!p) return error;
  const auto& data = algorithm->data;  // what is asked here breaks no rule
  const bool known = data[0] == written(Algorithm::tiled, *p, true).data[0] &&
                     data[1] <= std::uint64_t(Algorithm::split_k_rounded) &&
                     data[2] == written(Algorithm::tiled, *p, true).data[2] && data[3];
  if (!known || blas().missing.count(Algorithm(data[1]))) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Demands demands = demands_of(Algorithm(data[1]), *p);
  if (!strides_allow(demands.alignment, *p)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *result = {};
  result->workspaceSize = std::size_t(demands.workspace);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  const char* const name = "cublasLtMatmul";
  count_call(name);
  if (fault() || check_stream(name, stream)) return CUBLAS_STATUS_EXECUTION_FAILED;
  cublasStatus_t error{};
  const std::optional<LtProduct> p =
      product_of(name, handle, description, a_layout, b_layout, c_layout, d_layout, &error);
  if (!p) return error;
  Run run{};
  if (!read_factor(alpha, &run.alpha) || !read_factor(beta, &run.beta))
    return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": alpha or beta is not in main memory");
  const std::optional<Algorithm> chosen =
      algorithm ? read(name, *algorithm, *p) : Algorithm::general;
  if (!chosen) return CUBLAS_STATUS_INVALID_VALUE;
  const Demands demands = demands_of(*chosen, *p);
  const Pointers at{a, b, c, d, workspace, workspace_bytes};
  if (const std::string fault = toolkit::fault_of(*p, demands, at, run.beta); !fault.empty())
    return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": ", fault);
  if (blas().failing.count(*chosen)) return CUBLAS_STATUS_NOT_SUPPORTED;
  {
    const Lock lock(state().mutex);
    settings().last = *chosen;
  }
  run.algorithm = *chosen;
  run.product = row_major(*p, a, b, d);
  run.addend = c;
  run.addend_stride = std::uint64_t(p->c.stride);
  run.workspace = workspace;
  run.workspace_bytes = demands.workspace;
  queue(stream, blas().microseconds[int(*chosen)], [run, p = *p, name] {
    const Gemm& r = run.product;
    require_device_memory(name, r.b, p.a.bytes());
    require_device_memory(name, r.a, p.b.bytes());
    require_device_memory(name, r.c, p.d.bytes());
    if (r.a_factor) require_device_memory(name, r.a_factor, sizeof(float));
    if (r.b_factor) require_device_memory(name, r.b_factor, sizeof(float));
    if (run.workspace_bytes) require_device_memory(name, run.workspace, run.workspace_bytes);
    compute(run);
  });
  return CUBLAS_STATUS_SUCCESS;
}
