// Does the stand-in of cuBLASLt multiply as cuBLASLt does, and refuse the rest?
#include <cublasLt.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "core/half.h"
#include "tests/cuda/host/stand_ins.h"

namespace lacuna::testing {
namespace {

constexpr std::int64_t kWorkspace = 1 << 20;

template <auto Close>
struct Closer {
  template <class T>
  void operator()(T* object) const {
    EXPECT_EQ(Close(object), CUBLAS_STATUS_SUCCESS);
  }
};
template <class T, auto Close>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, Closer<Close>>;

/// A column-major matrix in device memory, `shift` bytes off an allocation's start.
struct Matrix {
  Matrix(cudaStream_t stream_, cudaDataType type_, int rows_, int cols_, int gap = 0, int shift = 0)
      : stream(stream_), type(type_), rows(rows_), cols(cols_), stride(rows_ + gap) {
    EXPECT_EQ(cudaMalloc(&memory, std::size_t(stride * cols * 4 + shift)), cudaSuccess);
    data = static_cast<char*>(memory) + shift;
    cublasLtMatrixLayout_t made = nullptr;
    EXPECT_EQ(
        cublasLtMatrixLayoutCreate(&made, type, std::uint64_t(rows), std::uint64_t(cols), stride),
        CUBLAS_STATUS_SUCCESS);
    layout.reset(made);
  }
  ~Matrix() { EXPECT_EQ(cudaFree(memory), cudaSuccess); }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  std::size_t bytes() const {
    return std::size_t((cols - 1) * stride + rows) * (type == CUDA_R_32F ? 4 : 2);
  }
  /// Small whole numbers: every sum of their products is exact.
  void write(int seed) {
    std::vector<float> wide(std::size_t(stride * cols), NAN);
    for (int col = 0; col < cols; ++col)
      for (int row = 0; row < rows; ++row)
        wide[std::size_t(col * stride + row)] = value(seed, row, col);
    std::vector<BFloat16> narrow;
    for (const float x : wide) narrow.push_back(to_bf16(x));
    const void* from = type == CUDA_R_32F ? static_cast<const void*>(wide.data()) : narrow.data();
    EXPECT_EQ(cudaMemcpyAsync(data, from, bytes(), cudaMemcpyHostToDevice, stream), cudaSuccess);
  }
  static float value(int seed, int row, int col) {
    return float((row * 7 + col * 5 + seed) % 9 - 4);
  }
  float at(int row, int col) const {
    std::vector<char> all(bytes());
    EXPECT_EQ(cudaMemcpyAsync(all.data(), data, bytes(), cudaMemcpyDeviceToHost, stream),
              cudaSuccess);
    const auto i = std::size_t(col * stride + row);
    return type == CUDA_R_32F ? reinterpret_cast<const float*>(all.data())[i]
                              : to_float(reinterpret_cast<const BFloat16*>(all.data())[i]);
  }

  cudaStream_t stream;
  cudaDataType type;
  int rows, cols;
  std::int64_t stride;
  void* memory = nullptr;
  void* data = nullptr;
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> layout;
};

class CublasLtRules : public StandInTest {
 protected:
  CublasLtRules() {
    EXPECT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
    EXPECT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaMalloc(&workspace, kWorkspace), cudaSuccess);
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspace});
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  }
  ~CublasLtRules() override {
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(preference), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaFree(workspace), cudaSuccess);
    EXPECT_EQ(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  }
  template <class T>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }
  void prefer_alignment(std::uint32_t bytes) {
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      prefer(attribute, bytes);
  }
  using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
  static Description description(bool transpose_a, bool transpose_b) {
    cublasLtMatmulDesc_t made = nullptr;
    EXPECT_EQ(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              CUBLAS_STATUS_SUCCESS);
    for (const auto& [attribute, transpose] : {std::pair{CUBLASLT_MATMUL_DESC_TRANSA, transpose_a},
                                               {CUBLASLT_MATMUL_DESC_TRANSB, transpose_b}}) {
      const cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
      EXPECT_EQ(cublasLtMatmulDescSetAttribute(made, attribute, &operation, sizeof operation),
                CUBLAS_STATUS_SUCCESS);
    }
    return Description(made);
  }
  std::vector<cublasLtMatmulHeuristicResult_t> algorithms(const Description& of, const Matrix& a,
                                                          const Matrix& b, const Matrix& d,
                                                          int most = 8) {
    std::vector<cublasLtMatmulHeuristicResult_t> found(std::size_t(most),
                                                       cublasLtMatmulHeuristicResult_t{});
    int count = 0;
    status = cublasLtMatmulAlgoGetHeuristic(handle, of.get(), a.layout.get(), b.layout.get(),
                                            d.layout.get(), d.layout.get(), preference, most,
                                            found.data(), &count);
    found.resize(std::size_t(count));
    return found;
  }
  cublasStatus_t multiply(const Description& of, const cublasLtMatmulAlgo_t* algorithm,
                          const Matrix& a, const Matrix& b, const Matrix& c, const Matrix& d,
                          float alpha = 1, float beta = 0) {
    return cublasLtMatmul(handle, of.get(), &alpha, a.data, a.layout.get(), b.data, b.layout.get(),
                          &beta, c.data, c.layout.get(), d.data, d.layout.get(), algorithm,
                          workspace, workspace_bytes, stream);
  }

  cudaStream_t stream = nullptr;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = kWorkspace;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
};

/// d = 2 op(a) op(b) - 3 c, of whole numbers, by every algorithm, in place and not.
TEST_F(CublasLtRules, Multiplies) {
  constexpr int m = 3, n = 5, k = 7;
  prefer_alignment(16);
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_MASK});
  int ran = 0;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const auto& [factors, result] : {std::pair{CUDA_R_32F, CUDA_R_32F},
                                            {CUDA_R_16BF, CUDA_R_32F},
                                            {CUDA_R_16BF, CUDA_R_16BF}})
        for (const int gap : {0, 8}) {
          Matrix a(stream, factors, ta ? k : m, ta ? m : k, gap ? gap - (ta ? k : m) % 8 : 0);
          Matrix b(stream, factors, tb ? n : k, tb ? k : n, gap ? gap - (tb ? n : k) % 8 : 0);
          Matrix c(stream, result, m, n, gap ? 8 - m : 0),
              d(stream, result, m, n, gap ? 16 - m : 0);
          a.write(1);
          b.write(2);
          c.write(3);
          const Description description = this->description(ta, tb);
          for (const Matrix* into : {&c, &d}) {
            const auto all = algorithms(description, a, b, *into);
            ASSERT_EQ(status, CUBLAS_STATUS_SUCCESS);
            for (const auto& algorithm : all) {
              c.write(3);
              ASSERT_EQ(multiply(description, &algorithm.algo, a, b, c, *into, 2, -3),
                        CUBLAS_STATUS_SUCCESS);
              ++ran;
              for (int row = 0; row < m; ++row)
                for (int col = 0; col < n; ++col) {
                  float sum = 0;
                  for (int i = 0; i < k; ++i)
                    sum += Matrix::value(1, ta ? i : row, ta ? row : i) *
                           Matrix::value(2, tb ? col : i, tb ? i : col);
                  EXPECT_EQ(into->at(row, col), 2 * sum - 3 * Matrix::value(3, row, col));
                }
            }
          }
        }
  EXPECT_GE(ran, 100);
}

TEST_F(CublasLtRules, OnlySomeReductionsRoundPartialSums) {
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_MASK});
  Matrix a(stream, CUDA_R_16BF, 8, 2), b(stream, CUDA_R_16BF, 2, 8, 6),
      d(stream, CUDA_R_16BF, 8, 8);
  // 1 + 256 - 256 everywhere; of bf16, 1 + 256 is 256.
  std::vector<BFloat16> left(16, to_bf16(-1)), right(64, to_bf16(256));
  std::fill(left.begin(), left.begin() + 8, to_bf16(1));
  std::vector<BFloat16> c(64, to_bf16(1));
  EXPECT_EQ(cudaMemcpyAsync(a.data, left.data(), 32, cudaMemcpyHostToDevice, stream), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(b.data, right.data(), b.bytes(), cudaMemcpyHostToDevice, stream),
            cudaSuccess);
  const Description description = this->description(false, false);
  std::set<float> sums;
  for (const auto& algorithm : algorithms(description, a, b, d)) {
    EXPECT_EQ(cudaMemcpyAsync(d.data, c.data(), 128, cudaMemcpyHostToDevice, stream), cudaSuccess);
    EXPECT_EQ(multiply(description, &algorithm.algo, a, b, d, d, 1, 1), CUBLAS_STATUS_SUCCESS);
    const auto ran = toolkit::last_algorithm();
    const bool rounds =
        ran == toolkit::Algorithm::split_k_in_place || ran == toolkit::Algorithm::split_k_rounded;
    EXPECT_EQ(d.at(0, 0), rounds ? 0.0f : 1.0f) << int(ran);
    sums.insert(d.at(0, 0));
  }
  EXPECT_EQ(sums, (std::set<float>{0, 1}));
}

TEST_F(CublasLtRules, TheHeuristicListsWhatThePreferenceAllows) {
  Matrix a(stream, CUDA_R_16BF, 16, 16), b(stream, CUDA_R_16BF, 16, 16),
      d(stream, CUDA_R_16BF, 16, 16);
  const Description description = this->description(false, false);
  const auto reductions = [&](std::uint32_t mask) {
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, mask);
    return algorithms(description, a, b, d).size();
  };
  EXPECT_EQ(reductions(CUBLASLT_REDUCTION_SCHEME_MASK), 5u);
  EXPECT_EQ(reductions(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE), 3u);
  EXPECT_EQ(reductions(CUBLASLT_REDUCTION_SCHEME_NONE), 2u);
  EXPECT_EQ(algorithms(description, a, b, d, 1).size(), 1u);
  prefer_alignment(2);
  EXPECT_EQ(algorithms(description, a, b, d).size(), 1u);
  Matrix odd(stream, CUDA_R_16BF, 16, 16, 1);
  prefer_alignment(256);
  EXPECT_EQ(algorithms(description, odd, b, d).size(), 1u);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{16 * 16 * 4 - 1});
  EXPECT_EQ(reductions(CUBLASLT_REDUCTION_SCHEME_MASK), 2u);
  toolkit::set_blas({.missing = {toolkit::Algorithm::tiled, toolkit::Algorithm::general}});
  EXPECT_EQ(algorithms(description, a, b, d).size(), 0u);
  EXPECT_EQ(status, CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_TRUE((algorithms(description, a, b, d, 0),
               refused(status, CUBLAS_STATUS_INVALID_VALUE, "no result asked for")));
}

TEST_F(CublasLtRules, RefusesMatricesThatDoNotFit) {
  Matrix a(stream, CUDA_R_32F, 4, 6), b(stream, CUDA_R_32F, 6, 8), d(stream, CUDA_R_32F, 4, 8);
  Matrix half(stream, CUDA_R_16BF, 6, 8), wrong(stream, CUDA_R_32F, 8, 4);
  const Description straight = description(false, false), turned = description(true, false);
  const auto is = [&](cublasStatus_t expected, const char* text) {
    return refused(status, expected, text);
  };
  (void)algorithms(turned, a, b, d);
  EXPECT_TRUE(is(CUBLAS_STATUS_INVALID_VALUE, "a is [4,6], not [4,4]"));
  (void)algorithms(straight, a, b, wrong);
  EXPECT_TRUE(is(CUBLAS_STATUS_INVALID_VALUE, "a is [4,6], not [8,6]"));
  (void)algorithms(straight, b, a, d);
  EXPECT_TRUE(is(CUBLAS_STATUS_INVALID_VALUE, "a is [6,8], not [4,8]"));
  (void)algorithms(straight, a, half, d);
  EXPECT_TRUE(is(CUBLAS_STATUS_NOT_SUPPORTED, "types"));
  cublasLtMatrixLayout_t narrow = nullptr;
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&narrow, CUDA_R_32F, 4, 6, 3), CUBLAS_STATUS_SUCCESS);
  a.layout.reset(narrow);
  (void)algorithms(straight, a, b, d);
  EXPECT_TRUE(is(CUBLAS_STATUS_INVALID_VALUE, "a's columns of 4 are 3 apart"));
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&narrow, CUDA_R_32F, 4, 6, 4), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtMatrixLayoutDestroy(narrow), CUBLAS_STATUS_SUCCESS);
  EXPECT_TRUE(refused(cublasLtMatrixLayoutDestroy(narrow), CUBLAS_STATUS_INVALID_VALUE,
                      "destroyed before"));
  EXPECT_TRUE(refused(cublasLtMatrixLayoutCreate(&narrow, CUDA_R_32F, 0, 6, 3),
                      CUBLAS_STATUS_INVALID_VALUE, "empty"));
}

TEST_F(CublasLtRules, RefusesWrongCalls) {
  Matrix a(stream, CUDA_R_16BF, 16, 16), b(stream, CUDA_R_16BF, 16, 16),
      d(stream, CUDA_R_16BF, 16, 16);
  Matrix shifted(stream, CUDA_R_16BF, 16, 16, 0, 2), odd(stream, CUDA_R_16BF, 16, 16, 1);
  Matrix wide(stream, CUDA_R_32F, 16, 16);
  for (Matrix* x : {&a, &b, &shifted, &odd}) x->write(1);
  const Description straight = description(false, false), turned = description(true, false);
  const auto all = algorithms(straight, a, b, d);
  ASSERT_EQ(all.size(), 3u);
  const cublasLtMatmulAlgo_t tiled = all[0].algo, split = all[1].algo;
  EXPECT_EQ(all[0].workspaceSize, 0u);
  EXPECT_EQ(all[1].workspaceSize, 2u * 16 * 16 * 4);
  const auto is = [](cublasStatus_t returned, const char* text) {
    return refused(returned, CUBLAS_STATUS_INVALID_VALUE, text);
  };
  EXPECT_TRUE(is(multiply(straight, &tiled, shifted, b, d, d), "a is not aligned to the 16 bytes"));
  EXPECT_TRUE(is(multiply(straight, &tiled, a, b, shifted, shifted), "d is not aligned"));
  EXPECT_TRUE(is(multiply(straight, &tiled, odd, b, d, d), "strides are no multiples of the 16"));
  EXPECT_TRUE(is(multiply(straight, &tiled, a, b, a, a), "d overlaps a"));
  EXPECT_TRUE(is(multiply(turned, &tiled, a, b, d, d), "other types or transpositions"));
  EXPECT_TRUE(is(multiply(straight, &tiled, a, b, wide, wide), "other types or transpositions"));
  const cublasLtMatmulAlgo_t nonsense{};
  EXPECT_TRUE(is(multiply(straight, &nonsense, a, b, d, d), "that the heuristic never gave"));
  workspace_bytes = 2047;
  EXPECT_TRUE(is(multiply(straight, &split, a, b, d, d), "a workspace of 2047 bytes"));
  workspace_bytes = 2048;
  workspace = static_cast<char*>(workspace) + 128;
  EXPECT_TRUE(is(multiply(straight, &split, a, b, d, d), "not aligned to 256"));
  workspace = static_cast<char*>(workspace) - 128;
  workspace_bytes = 2 * kWorkspace;
  EXPECT_TRUE(is(multiply(straight, &split, a, b, d, d), "workspace that is not within device"));
  workspace_bytes = kWorkspace;
  void* const there = a.data;
  a.data = static_cast<char*>(a.memory) + 512 + 256;
  EXPECT_TRUE(is(multiply(straight, &tiled, a, b, d, d), "a of 512 bytes is not within device"));
  std::vector<char> host(1024);
  a.data = host.data();
  EXPECT_TRUE(is(multiply(straight, &tiled, a, b, d, d), "is not within device memory"));
  a.data = there;
  EXPECT_EQ(multiply(straight, nullptr, a, b, d, d), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(toolkit::last_algorithm(), toolkit::Algorithm::general);
}

TEST_F(CublasLtRules, AnEntryInAnErrorStateIsNotToBeRun) {
  toolkit::set_blas({.in_error_state = {toolkit::Algorithm::tiled}});
  Matrix a(stream, CUDA_R_16BF, 16, 16), b(stream, CUDA_R_16BF, 16, 16),
      d(stream, CUDA_R_16BF, 16, 16);
  const Description straight = description(false, false);
  const auto all = algorithms(straight, a, b, d);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].state, CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_TRUE(refused(multiply(straight, &all[0].algo, a, b, d, d), CUBLAS_STATUS_INVALID_VALUE,
                      "of an entry whose state is an error"));
}

TEST_F(CublasLtRules, AttributesHaveASize) {
  const Description made = description(false, false);
  const char small = 0;
  const std::uint64_t large = 0;
  EXPECT_TRUE(refused(
      cublasLtMatmulDescSetAttribute(made.get(), CUBLASLT_MATMUL_DESC_TRANSA, &small, sizeof small),
      CUBLAS_STATUS_INVALID_VALUE, "of 4 bytes set to one of 1"));
  EXPECT_TRUE(
      refused(cublasLtMatmulPreferenceSetAttribute(
                  preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &large, sizeof large),
              CUBLAS_STATUS_INVALID_VALUE, "of 4 bytes set to one of 8"));
  EXPECT_TRUE(refused(cublasLtMatmulPreferenceSetAttribute(
                          preference, cublasLtMatmulPreferenceAttributes_t(77), &large, 8),
                      CUBLAS_STATUS_INVALID_VALUE, "attribute 77"));
}

/// A product is part of a graph, and what it captured is read and written at every launch.
TEST_F(CublasLtRules, ProductsAreCaptured) {
  Matrix a(stream, CUDA_R_32F, 8, 8), b(stream, CUDA_R_32F, 8, 8), d(stream, CUDA_R_32F, 8, 8);
  a.write(1);
  b.write(2);
  d.write(3);
  const Description straight = description(false, false);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(multiply(straight, nullptr, a, b, d, d, 1, 1), CUBLAS_STATUS_SUCCESS);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(d.at(1, 2), Matrix::value(3, 1, 2));
  cudaGraphExec_t instance = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&instance, graph, 0), cudaSuccess);
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum += Matrix::value(1, 1, i) * Matrix::value(2, i, 2);
  for (int turn = 1; turn <= 2; ++turn) {
    EXPECT_EQ(cudaGraphLaunch(instance, stream), cudaSuccess);
    EXPECT_EQ(d.at(1, 2), Matrix::value(3, 1, 2) + float(turn) * sum);
  }
  EXPECT_EQ(cudaGraphExecDestroy(instance), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

}  // namespace
}  // namespace lacuna::testing
