#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/checks.h"
#include "kernels/cuda/piece_tables.h"
#include "kernels/ops.h"
#include "kernels/platform/device.h"
#include "kernels/platform/gemm.h"

namespace lacuna {

/// f32 and bf16 on a GPU (sums in f32), on one stream of its own. One file per operation. Where
/// this build has no CUDA, the same kernels run on the host, slowly: description() begins with
/// "cuda" or "cuda-emulated".
///
/// Differences from what kernels/ops.h says of the CPU: contents are never checked, as that would
/// wait for the device. With an id, row, position or target out of range, what would have been read
/// becomes NaN and what would have been written is not. A product's y, and the gradient of weights,
/// may be f32 where its factors are bf16. Results are the same from run to run on one kind of GPU.
class CudaOps final : public Ops {
 public:
  /// Throws Error, one line, when there is no device or it cannot run the kernels.
  explicit CudaOps(const DeviceOptions& options = {});
  ~CudaOps() override;

  std::string description() const override;
  Place place() const override { return Place::device; }
  std::string gpu_identity() const override { return device_.identity(); }
  Memory& memory() override { return device_.memory(); }
  void synchronize() override { device_.synchronize("synchronize"); }
  bool has_fp8() const override { return device_.has_fp8(); }
  bool reads(MatrixFormat format, DType dtype) const override {
    return (dtype == DType::f32 || dtype == DType::bf16) && format == format_of(dtype);
  }
  /// The stream that everything runs on (a cudaStream_t), for communicators.
  CUstream_st* stream() const { return device_.stream(); }

  void run_captured(std::unique_ptr<CapturedGraph>& recording,
                    const std::function<void()>& work) override {
    device_.run_captured(recording, work);
  }
  void tune_gemms(const std::function<void()>& work) override { gemms_.tune(work); }
  std::string gemm_algorithms() const override { return gemms_.algorithms(); }
  void use_gemm_algorithms(const std::string& text) override { gemms_.use_algorithms(text); }

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
  void embedding_backward(Tensor dw, Tensor dy, Tensor ids, GradMode mode) override;
  void linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode) override;
  void linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) override;
  void linear_backward_weight(Tensor dw, Tensor dy, Tensor x, GradMode mode) override;
  void absolute_maximum(Tensor amax, Tensor x) override;
  void quantise_fp8(Tensor codes, Tensor transposed, Tensor factor, Tensor x, Tensor amax) override;
  void multiply_fp8(Tensor y, Fp8Matrix a, Fp8Matrix b, GradMode mode) override;
  void rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps,
                       Tensor amax = {}) override;
  void add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta, Tensor w,
                           float eps, Tensor amax = {}) override;
  void rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                        GradMode mode, GradMode weight_mode) override;
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
                   GradMode mode) override;
  void clip_scale(Tensor scale, Tensor sum, float max_norm) override;
  void add_to_gradient_sums(const std::vector<GradientSumPiece>& pieces, GradMode mode,
                            const GradientRounding& rounding) override;
  void adamw(const std::vector<AdamWPiece>& pieces, Tensor scale,
             const AdamWParameters& p) override;

 private:
  static Checks checks(const char* op) { return {op, Place::device}; }

  Device device_;
  GemmRunner gemms_;
  PieceTables tables_{device_};
  const bool hopper_attention_, fused_hopper_;
  const std::optional<bool> attention_clusters_;
};

}  // namespace lacuna
