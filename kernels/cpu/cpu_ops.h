#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "kernels/checks.h"
#include "kernels/host_formats.h"
#include "kernels/ops.h"

namespace lacuna {

struct QuantisedKernels;  // kernels/cpu/quantised_product.h
struct SimdKernels;       // kernels/cpu/simd.h

/// f32 and bf16 (sums in f32) on the host: OpenBLAS for the f32 GEMMs of backward passes, loops
/// over threads for the rest. One file per operation. Results are the same from run to run for one
/// thread count and instruction set. What a forward pass computes of a row (linear_forward,
/// attention_forward, the norms, row_stats) has the same bits whatever other rows are computed with
/// it and by how many threads.
class CpuOps : public Ops {
 public:
  /// `threads` 0: every core this process may use.
  explicit CpuOps(int threads = 0);
  /// With the loops of one instruction set, which must outlive this.
  CpuOps(int threads, const SimdKernels& kernels);
  CpuOps(int threads, const SimdKernels& kernels, const QuantisedKernels& quantised);
  ~CpuOps() override;

  std::string description() const override;
  Place place() const override { return Place::host; }
  Memory& memory() override { return host_memory(); }
  void synchronize() override {}
  bool has_fp8() const override { return true; }  // emulated
  bool reads(MatrixFormat format, DType dtype) const override { return host_reads(format, dtype); }
  ThreadPool& pool() { return pool_; }

  void copy(Tensor dst, Tensor src) override;
  void upload(const std::vector<Upload>& uploads) override;
  void fill(Tensor x, float value) override;
  void add(Tensor y, Tensor x) override;
  void axpby(Tensor y, float alpha, Tensor x, float beta, Tensor factor = {}) override;
  void dequantise(Tensor y, Matrix w) override;
  void gather_rows(Tensor y, Tensor x, Tensor rows) override;
  void scatter_add_rows(Tensor x, Tensor y, Tensor rows) override;
  void scatter_rows(Tensor x, Tensor y, Tensor rows) override;
  void embedding_forward(Tensor y, Tensor ids, Matrix w) override;
  void embedding_backward(Tensor dw, Tensor dy, Tensor ids,
                          GradMode mode = GradMode::accumulate) override;
  void linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode = GradMode::overwrite) override;
  void linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) override;
  void linear_backward_weight(Tensor dw, Tensor dy, Tensor x,
                              GradMode mode = GradMode::accumulate) override;
  void absolute_maximum(Tensor amax, Tensor x) override;
  void quantise_fp8(Tensor codes, Tensor transposed, Tensor factor, Tensor x, Tensor amax) override;
  void multiply_fp8(Tensor y, Fp8Matrix a, Fp8Matrix b, GradMode mode) override;
  void rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps,
                       Tensor amax = {}) override;
  void add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta, Tensor w,
                           float eps, Tensor amax = {}) override;
  void rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                        GradMode mode, GradMode weight_mode = GradMode::accumulate) override;
  void rope(Tensor x, Tensor positions, Tensor table, Rotation direction) override;
  void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                         const AttentionShape& shape) override;
  void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor lse,
                          Tensor q, Tensor k, Tensor v, const AttentionShape& shape) override;
  void swiglu_forward(Tensor y, Tensor gate_up, Tensor amax = {}) override;
  void swiglu_backward(Tensor d_gate_up, Tensor y, Tensor dy, Tensor gate_up, Tensor d_amax = {},
                       Tensor y_amax = {}) override;
  void route_rows(const RoutedRows& routed, Tensor logits, bool normalise) override;
  void add_weighted_rows(Tensor x, Tensor y, Tensor rows, Tensor weights) override;
  void cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) override;
  void cross_entropy_backward(Tensor loss, Tensor logits, Tensor targets, Tensor weights) override;
  void complete_logits(Tensor column, Tensor own_targets, Tensor lse, Tensor targets, int rank,
                       std::int32_t first, std::int32_t ids) override;
  void keep_own_losses(Tensor loss, Tensor own_targets, std::int32_t ids) override;
  void apply_cfg(Tensor logits, Tensor unconditional, float scale) override;
  void row_stats(const RowStats& stats, Tensor logits, Tensor row_keys, Tensor current,
                 const SamplingParameters& parameters) override;
  void decide(const Commits& commits, const RowStats& found, Tensor rows, Tensor offsets,
              const CommitRules& rules, std::int32_t mask_token, std::int32_t number) override;
  void add_squares(Tensor sum, const std::vector<Tensor>& tensors, double factor,
                   GradMode mode = GradMode::accumulate) override;
  void clip_scale(Tensor scale, Tensor sum, float max_norm) override;
  void add_to_gradient_sums(const std::vector<GradientSumPiece>& pieces, GradMode mode,
                            const GradientRounding& rounding) override;
  void adamw(const std::vector<AdamWPiece>& pieces, Tensor scale,
             const AdamWParameters& p) override;

 private:
  static Checks checks(const char* op) { return {op, Place::host}; }
  /// Room for each thread's own tiles and partial sums, kept between calls; from a whole cache line
  /// on, as vectors are loaded and stored fastest.
  float* scratch(int thread, std::size_t floats);
  /// n elements, from one type to another (as Ops::copy).
  void move(void* to, DType to_type, const void* from, DType from_type, std::int64_t n) const;
  /// c (+)= a b, bf16 matrices; c f32 or bf16. Stored transposed: a as [depth,rows], b as
  /// [cols,depth].
  void multiply_bf16(const Tensor& c, const Tensor& a, bool a_transposed, const Tensor& b,
                     bool b_transposed, GradMode mode);

  /// linear_forward with weights of a format of blocks, and with those of bf16 or f16.
  void multiply_quantised(const Tensor& y, const Tensor& x, const Matrix& w, GradMode mode);
  void multiply_widened(const Tensor& y, const Tensor& x, const Matrix& w, GradMode mode);

  ThreadPool pool_;
  const SimdKernels& simd_;
  const QuantisedKernels& quantised_;
  std::vector<std::vector<float>> scratch_;
  std::vector<float> rounded_rows_;   // of multiply_quantised()
  std::vector<BFloat16> fp8_values_;  // of multiply_fp8(): of both matrices
  std::vector<float> fp8_sums_;       // and the products of these
};

}  // namespace lacuna
