#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/matrix.h"
#include "core/tensor.h"
#include "kernels/commit_rule.h"
#include "kernels/key_intervals.h"
#include "kernels/stochastic_rounding.h"

// Shape letters: N rows (tokens), C width, F feed-forward width, V vocabulary, H query heads, K key
// and value heads, D head width, M gathered rows, B sequences, T positions.

namespace lacuna {

/// Whether a gradient replaces what its tensor holds or is added to it.
enum class GradMode : std::uint8_t { overwrite, accumulate };
enum class Rotation : std::uint8_t { forward, inverse };

/// Which rows attend to which. Rows are cut into segments (sequences), whose queries see keys of
/// their own segment only; within it, each query row sees the keys of two intervals. Every mask in
/// use has this form: bidirectional, causal and block-causal attention, documents packed in one
/// sequence, block diffusion's [noisy; clean] rows (arXiv:2503.09573, section 3.2), cached
/// decoding.
struct AttentionShape {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  Tensor
      query_offsets;   // i32 [S+1]: segment s has query rows [query_offsets[s], query_offsets[s+1])
  Tensor key_offsets;  // i32 [S+1]: and key rows [key_offsets[s], key_offsets[s+1])
  Tensor query_keys;   // i32 [Nq,4]: the KeyIntervals of each query row (kernels/key_intervals.h)
};

/// A view of them as AttentionShape::query_keys, i32 [n,4].
inline Tensor tensor_of(const std::vector<KeyIntervals>& intervals) {
  const auto* first = reinterpret_cast<const std::int32_t*>(intervals.data());
  return Tensor(const_cast<std::int32_t*>(first), {std::int64_t(intervals.size()), 4});
}

/// A weight's part in an update: its values w, f32, moments m and v, both f32 or both bf16, and
/// gradient g, float; all of one shape, contiguous. `rounded`, if it is given, float, gets the new
/// w, rounded to its type.
struct AdamWPiece {
  Tensor w, m, v, g;
  Tensor rounded = {};
  bool decays = true;
  ElementNumbers numbers = {};  // which name the random numbers of bf16 moments
};

struct AdamWParameters {
  double learning_rate, beta1, beta2, eps, weight_decay;
  std::int64_t step;       // 1 for the first update: bias correction is 1 - beta^step
  std::uint64_t seed = 0;  // of the rounding of bf16 moments
};

/// A part of a sum of gradients that is kept in bf16: the sum, bf16, and what is added to it, f32,
/// of one shape, contiguous.
struct GradientSumPiece {
  Tensor sum, x;
  ElementNumbers numbers = {};  // which name the random numbers
};

/// Token ids that a call of `row_stats` leaves out; -1: none.
using ForbiddenTokens = std::array<std::int32_t, 4>;
inline constexpr ForbiddenTokens kNoForbiddenTokens = {-1, -1, -1, -1};

/// One draw per row of `row_stats`: temperature 0 is argmax; above, Gumbel noise in f64. The
/// number of row m's token v is named by the 64-bit position n = row_keys[m] V + v: its low half is
/// a position of CounterRng, its high half the high half of the index, so that no two collide:
///   u = CounterRng{seed, Purpose::gumbel, step | (n >> 32) << 32}.uniform53(uint32(n))
/// step < 2^32.
struct SamplingParameters {
  double temperature = 0;
  std::uint64_t seed = 0, step = 0;
  ForbiddenTokens forbidden = kNoForbiddenTokens;  // their logits count as -inf, in every result

  bool operator==(const SamplingParameters&) const = default;
};

/// The results of `row_stats`, each of M rows. What is left empty (Tensor()) is not computed.
/// Probabilities are those of softmax(logits), without noise or temperature, all of them not finite
/// in a row that has NaN or +inf, or nothing but -inf.
struct RowStats {
  Tensor draw = {};       // i32: argmax_v of logits[m,v] - temperature * log(-log u)
  Tensor p_draw = {};     // f32, as all below: its probability
  Tensor argmax = {};     // i32: the most probable token
  Tensor p_first = {};    // its probability
  Tensor p_second = {};   // of the second most probable, the same if two are equal; 0 if V = 1
  Tensor entropy = {};    // -sum_v p ln p, in nats
  Tensor p_current = {};  // of current[m]
};

/// How `decide` chooses draws in each of S segments (kernels/commit_rule.h).
struct CommitRules {
  Tensor rules;   // i32, of CommitRule
  Tensor bounds;  // f64
  Tensor least;   // i32: so many are chosen whatever the bound, or all where there are fewer
};

/// What `decide` changes.
struct Commits {
  Tensor tokens;       // i32 [N]
  Tensor step;         // i32 [M]: the step that committed the draw
  Tensor probability;  // f32 [M], of the draw's token then
  Tensor not_finite;   // i32 [1]
};

/// Which rows go to which of E experts, each to k of them: expert e computes rows[offsets[e]] up to
/// rows[offsets[e+1] - 1], which increase, and its results count weights[…] of the same places.
struct RoutedRows {
  Tensor offsets;  // i32 [E+1]
  Tensor rows;     // i32 [N k]
  Tensor weights;  // f32 [N k]
};
inline constexpr std::int64_t kMostRoutedExperts = 1 << 12;  // E

/// A matrix in FP8: an element is its code's value times the factor.
struct Fp8Matrix {
  Tensor codes;   // e4m3 or e5m2
  Tensor factor;  // f32 [1], a power of two
};
/// What the columns of FP8 matrices are a multiple of.
inline constexpr std::int64_t kFp8Columns = 16;
constexpr std::int64_t padded_for_fp8(std::int64_t n) {
  return (n + kFp8Columns - 1) / kFp8Columns * kFp8Columns;
}

/// A tensor, and one in main memory, of its shape and dtype, whose elements it gets.
struct Upload {
  Tensor to, from;
};

/// What a device has recorded of Ops::run_captured.
class CapturedGraph {
 public:
  virtual ~CapturedGraph() = default;
};

/// Every tensor operation, once. All calls are ordered: each sees
/// the results of the calls before it. Destinations come first. Unless a line says otherwise,
/// tensors are contiguous, outputs alias no input, and an Error naming the tensor at fault is
/// thrown before anything is written when shapes, dtypes or places disagree (kernels/checks.h).
/// "Float" is f32 or bf16; sums are f32 or wider.
class Ops {
 public:
  virtual ~Ops() = default;
  /// "cpu" or the device's name, and how it runs ("cpu, 2 threads, avx512").
  virtual std::string description() const = 0;
  virtual Place place() const = 0;
  /// Tells a GPU from every other one, of any machine; empty where there is none (the CPU, the
  /// emulator).
  virtual std::string gpu_identity() const { return {}; }
  /// What tensors for these operations are allocated from.
  virtual Memory& memory() = 0;
  /// Returns when all earlier calls have finished.
  virtual void synchronize() = 0;
  /// Whether the operations that take a Matrix read this format, beside rows of `dtype`. Those that
  /// take no Matrix take f32 weights, or those of the dtype.
  virtual bool reads(MatrixFormat format, DType dtype) const = 0;

  /// Runs `work`, which calls operations on this device alone, and the same ones on the same
  /// tensors each time. A device may record them in `recording` (empty at first) and from then on
  /// repeat the record, without calling `work` (CUDA graphs).
  virtual void run_captured(std::unique_ptr<CapturedGraph>& recording,
                            const std::function<void()>& work) {
    (void)recording;
    work();
  }

  /// Runs `work`, whose results the caller throws away, and times algorithms for each new GEMM
  /// shape in it and keeps the fastest, if DeviceOptions::tune_gemms says so. GEMMs outside of
  /// `work` are never timed: a new shape takes what the library proposes.
  virtual void tune_gemms(const std::function<void()>& work) { work(); }
  /// The algorithms chosen so far, as text for later runs; empty where nothing is tuned.
  virtual std::string gemm_algorithms() const { return {}; }
  /// Takes algorithms from such a text, in place of those chosen before. Throws Error when it is
  /// damaged, or of another kind of GPU, driver or library; then nothing has changed.
  virtual void use_gemm_algorithms(const std::string& text) { (void)text; }

  // --- moving data -------------------------------------------------------------------------------
  /// dst = src between any two places, same shape; dtypes equal, or converted between float types.
  /// Either may be strided. Returns when a dst in main memory is written, a src there not needed.
  virtual void copy(Tensor dst, Tensor src) = 0;
  /// to = from of each, of elements of 4 or 8 bytes; from is not needed after the call. On a device
  /// all go there in one transfer, beside the computation of earlier calls, and are copied to their
  /// places in turn with the other calls. Not in run_captured().
  virtual void upload(const std::vector<Upload>& uploads) = 0;
  /// Every element of a float tensor = value.
  virtual void fill(Tensor x, float value) = 0;
  /// y[n] += x[n], float, any equal shapes.
  virtual void add(Tensor y, Tensor x) = 0;
  /// y = beta y + alpha x, computed in f32, float, any equal shapes; y is not read where beta is 0.
  /// `factor`, where given, f32 [1]: alpha is multiplied by it. x may be y.
  virtual void axpby(Tensor y, float alpha, Tensor x, float beta, Tensor factor = {}) = 0;
  /// y = the elements of w, [O,I] in any MatrixFormat, rounded to y's float type.
  virtual void dequantise(Tensor y, Matrix w) = 0;
  /// y[m,:] = x[rows[m],:].  y [M,C], x [N,C] float (may be strided), rows i32 [M] in [0,N).
  virtual void gather_rows(Tensor y, Tensor x, Tensor rows) = 0;
  /// x[rows[m],:] += y[m,:]. The rows must be distinct.
  virtual void scatter_add_rows(Tensor x, Tensor y, Tensor rows) = 0;
  /// x[rows[m],:] = y[m,:], the opposite of gather_rows; y may be strided, too. The rows must be
  /// distinct.
  virtual void scatter_rows(Tensor x, Tensor y, Tensor rows) = 0;

  // --- embedding ---------------------------------------------------------------------------------
  /// y[n,:] = w[ids[n],:].  y [N,C], ids i32 [N], w [V,C], in any format that reads() names.
  /// Throws Error naming the first id outside [0,V) on the CPU.
  virtual void embedding_forward(Tensor y, Tensor ids, Matrix w) = 0;
  /// dw[ids[n],:] += dy[n,:], repeated ids summed in a fixed order  (mode overwrite: the same from
  /// dw = 0 on).
  virtual void embedding_backward(Tensor dw, Tensor dy, Tensor ids,
                                  GradMode mode = GradMode::accumulate) = 0;

  // --- linear, weights [out,in] as in Hugging Face files; no bias
  // ----------------------------------
  /// y = x w^T  (mode accumulate: y += …).  y [N,O], x [N,I], w [O,I]. y and x may be strided.
  /// w may be of any format that reads() names. With one of blocks each 32 elements of a row of x
  /// are rounded to 8 bits, so that the products are of integers; the sums of normally distributed
  /// factors differ by about 0.5 % of their size from those with the dequantised weights.
  virtual void linear_forward(Tensor y, Tensor x, Matrix w,
                              GradMode mode = GradMode::overwrite) = 0;
  /// dx = dy w  (mode accumulate: dx += …).  dx [N,I], dy [N,O], w [O,I]. dx and dy may be strided.
  virtual void linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) = 0;
  /// dw += dy^T x  (mode overwrite: dw = …).  dw [O,I], dy [N,O], x [N,I]. dy and x may be strided.
  virtual void linear_backward_weight(Tensor dw, Tensor dy, Tensor x,
                                      GradMode mode = GradMode::accumulate) = 0;

  // --- products in FP8 (core/fp8.h), scaled per tensor -------------------------------------------
  /// Whether multiply_fp8 is there: not on GPUs before sm_89.
  virtual bool has_fp8() const = 0;
  /// amax[0] = max |x|, NaN where x has NaN, 0 where it is empty.  amax f32 [1], x float (may be
  /// strided). Where operations below take an `amax`, they do this with their result in the same
  /// pass; without data it is not wanted.
  virtual void absolute_maximum(Tensor amax, Tensor x) = 0;
  /// Codes of x / f, rounded to nearest even, in both orders that products read: `codes` [N,C] and
  /// `transposed` [C, padded_for_fp8(N)], with zeros behind the N columns; both e4m3, or both e5m2.
  /// One of them may be Tensor(). factor[0] = f follows from amax[0] = max |x| (fp8_factor); where
  /// that is not finite f and all codes are NaN. factor, amax f32 [1], x [N,C] float (may be
  /// strided).
  virtual void quantise_fp8(Tensor codes, Tensor transposed, Tensor factor, Tensor x,
                            Tensor amax) = 0;
  /// y = a b^T  (mode accumulate: y += …), of values times factors. y [N,O] bf16 or f32 (may be
  /// strided), a [N,K], b [O,K], K a multiple of kFp8Columns; a is e4m3 or e5m2, b is e4m3. Sums
  /// are f32; on GPUs those of two e4m3 matrices may keep fewer bits (cuBLASLt's fast
  /// accumulation), as forward products have them.
  virtual void multiply_fp8(Tensor y, Fp8Matrix a, Fp8Matrix b, GradMode mode) = 0;

  // --- normalisation -----------------------------------------------------------------------------
  /// Root-mean-square normalisation of each row (arXiv:1910.07467, eq. 4; eps as in LLaMA).
  ///   rstd[n] = 1 / sqrt(mean_c x[n,c]^2 + eps),  y[n,c] = x[n,c] rstd[n] w[c]
  /// x, y [N,C], w [C], rstd f32 [N], kept for the backward pass. y may be x. amax: of y.
  virtual void rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps,
                               Tensor amax = {}) = 0;
  /// sum = x + delta, then rmsnorm_forward(y, rstd, sum, w, eps) in the same pass.
  /// sum may be x; y may be delta.
  virtual void add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta,
                                   Tensor w, float eps, Tensor amax = {}) = 0;
  /// With g[n,c] = dy[n,c] w[c] and xhat = x rstd:
  ///   dx[n,:] (+)= rstd[n] (g[n,:] - xhat[n,:] mean_c(g[n,c] xhat[n,c])),
  ///   dw[c] (+)= sum_n dy[n,c] xhat[n,c]; of weights that are not trained, dw is Tensor().
  /// `mode` is that of dx, `weight_mode` that of dw.
  virtual void rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                                GradMode mode, GradMode weight_mode = GradMode::accumulate) = 0;

  // --- rotary positions --------------------------------------------------------------------------
  /// Rotates, in place, each head of x [N, heads*D] (may be strided) by its row's position
  /// (arXiv:2104.09864, half-split as in Hugging Face LLaMA): with h = D/2, j < h, angle = position
  /// * theta^(-2j/D):  x[j], x[j+h] = x[j] cos - x[j+h] sin, x[j+h] cos + x[j] sin. table f32
  /// [P,D]: cosines of the P positions' angles in columns [0,h), sines in [h,D). positions i32 [N]
  /// in [0,P). Rotation::inverse turns back, which is the backward pass.
  virtual void rope(Tensor x, Tensor positions, Tensor table, Rotation direction) = 0;

  // --- attention ---------------------------------------------------------------------------------
  /// Scaled dot-product attention with grouped queries, in tiles with an online softmax
  /// (arXiv:2205.14135): never a T x T matrix. Query head h reads key and value head h / (H/K).
  ///   out[i,h,:] = sum_j softmax_j(q[i,h,:] . k[j,:] / sqrt(D)) v[j,:],  j in query_keys[i].
  ///   lse[i,h] = log of the softmax's denominator.
  /// out [Nq,H*D], lse f32 [Nq,H], q [Nq,H*D], k and v [Nk,K*D]; q, k, v may be strided.
  /// A segment may have no queries. Every query needs at least one key. Tiles of keys that no query
  /// of a tile sees are not visited.
  virtual void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                 const AttentionShape& shape) = 0;
  /// dq, dk, dv overwritten, strided like q, k, v (may be columns of one packed tensor). lse and
  /// out from the forward pass.
  virtual void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                  Tensor lse, Tensor q, Tensor k, Tensor v,
                                  const AttentionShape& shape) = 0;

  // --- feed-forward ------------------------------------------------------------------------------
  /// y[n,f] = silu(gate[n,f]) up[n,f], silu(g) = g / (1 + exp(-g)) (arXiv:2002.05202).
  /// y [N,F]; gate_up [N,2F], gate in columns [0,F), up in [F,2F). amax: of y.
  virtual void swiglu_forward(Tensor y, Tensor gate_up, Tensor amax = {}) = 0;
  /// With s = sigmoid(gate):  d_gate = dy up s (1 + gate (1 - s)),  d_up = dy gate s.
  /// Also writes y again, which the caller then needs for the weight gradient and need not keep.
  /// d_gate_up may be gate_up; y may be dy. d_amax: of d_gate_up; y_amax: of y. Both or neither.
  virtual void swiglu_backward(Tensor d_gate_up, Tensor y, Tensor dy, Tensor gate_up,
                               Tensor d_amax = {}, Tensor y_amax = {}) = 0;

  // --- mixture of experts ------------------------------------------------------------------------
  /// Sends each row to its k most probable experts (arXiv:2409.02060, section 2; the softmax
  /// precedes the choice):
  ///   p = softmax(logits[n,:]) in f32; the k largest, of equal ones the first expert's.
  /// weights: their p, with `normalise` over the sum of these k. logits [N,E] float, E at most
  /// kMostRoutedExperts; 1 <= k <= E follows from `routed`. A row with NaN, +inf, or nothing but
  /// -inf goes to experts 0 to k-1 with the weight NaN.
  virtual void route_rows(const RoutedRows& routed, Tensor logits, bool normalise) = 0;
  /// x[rows[m],:] += weights[m] y[m,:].  x f32 [N,C], y [M,C] float, rows i32 [M] in [0,N),
  /// weights f32 [M]. The rows must be distinct.
  virtual void add_weighted_rows(Tensor x, Tensor y, Tensor rows, Tensor weights) = 0;

  // --- loss --------------------------------------------------------------------------------------
  /// loss[m] = log sum_v exp(logits[m,v]) - logits[m, targets[m]], in nats, unweighted.
  /// loss f32 [M], logits [M,V] (may be strided), targets i32 [M] in [0,V).
  virtual void cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) = 0;
  /// The same, and logits[m,v] = weights[m] (softmax(logits[m])[v] - [v = targets[m]]) in place:
  /// the gradient of sum_m weights[m] loss[m]. weights f32 [M].
  virtual void cross_entropy_backward(Tensor loss, Tensor logits, Tensor targets,
                                      Tensor weights) = 0;

  /// Of a rank that has the logits of `ids` token ids from `first` on, and of the others a column,
  /// what its own cross-entropy needs: column[m] = log sum_r exp(lse[r,m]) over all ranks r but
  /// `rank`; own_targets[m] = targets[m] - first where that is one of its ids, else `ids`, the
  /// column's number. column [M] float, as [M,1] strided; own_targets, targets i32 [M], lse f32
  /// [R,M], R >= 2.
  virtual void complete_logits(Tensor column, Tensor own_targets, Tensor lse, Tensor targets,
                               int rank, std::int32_t first, std::int32_t ids) = 0;
  /// loss[m] = 0 where own_targets[m] is `ids`: another rank's.  loss f32 [M], own_targets i32 [M].
  virtual void keep_own_losses(Tensor loss, Tensor own_targets, std::int32_t ids) = 0;

  // --- diffusion ---------------------------------------------------------------------------------
  /// Classifier-free guidance (arXiv:2502.09992, eq. 16): logits = u + (scale + 1)(logits - u),
  /// u = unconditional. Both [M,V]. scale 0 leaves logits as they are.
  virtual void apply_cfg(Tensor logits, Tensor unconditional, float scale) = 0;
  /// What a step of decoding asks of each row: a token drawn from it and how sure the model is of
  /// it (struct RowStats). Ties go to the smallest token. A row's results depend neither on the
  /// other rows nor on which results are asked for. logits [M,V] float (may be strided); row_keys
  /// i64 [M] (names the row's noise), may be empty if neither draw nor p_draw is asked for;
  /// current i32 [M] in [0,V), empty unless p_current is asked for.
  virtual void row_stats(const RowStats& stats, Tensor logits, Tensor row_keys, Tensor current,
                         const SamplingParameters& parameters) = 0;

  /// What a step of decoding commits. Of each segment s of draws [offsets[s], offsets[s+1]), those
  /// with tokens[rows[0,m]] = mask_token take part; its rule and bound choose among them (struct
  /// CommitRules), of equal scores the first. A chosen draw m is written: tokens[rows[r,m]] =
  /// found.draw[m] for every r, and, but for the mask token itself, step[m] = number and
  /// probability[m] = found.p_draw[m]. not_finite[0] = 1 if a draw that takes part has a p_draw or
  /// score that is not finite; it is left as it is. A segment without masked rows stays as it is.
  /// draw, p_draw and what the rules ask of `found`: [M]. rows i32 [R,M], below N; -1: none, and in
  /// rows[0] a draw that takes no part; distinct but for those. offsets i32 [S+1].
  virtual void decide(const Commits& commits, const RowStats& found, Tensor rows, Tensor offsets,
                      const CommitRules& rules, std::int32_t mask_token, std::int32_t number) = 0;

  // --- optimizer ---------------------------------------------------------------------------------
  /// sum f64 [1] += factor times the sum of squares of all of `tensors` (float, of one dtype, any
  /// shapes, contiguous), in a fixed order  (mode overwrite: sum = …). Not finite where one of them
  /// is not, even if factor is 0.
  virtual void add_squares(Tensor sum, const std::vector<Tensor>& tensors, double factor,
                           GradMode mode = GradMode::accumulate) = 0;
  /// scale f32 [1] = min(1, max_norm / sqrt(sum)); max_norm 0 means no clipping (1); NaN when sum
  /// is not finite.
  virtual void clip_scale(Tensor scale, Tensor sum, float max_norm) = 0;
  /// sum = sum + x  (mode overwrite: sum = x) of all pieces, computed in f32 and rounded
  /// stochastically: the bits depend on `rounding` and ElementNumbers alone.
  virtual void add_to_gradient_sums(const std::vector<GradientSumPiece>& pieces, GradMode mode,
                                    const GradientRounding& rounding) = 0;
  /// AdamW with decoupled decay (arXiv:1711.05101, algorithm 2) of all pieces, g' = scale[0] g:
  ///   m = b1 m + (1-b1) g',  v = b2 v + (1-b2) g'^2,
  ///   w -= lr (m / (1-b1^step) / (sqrt(v / (1-b2^step)) + eps) + decay w)
  /// decay being 0 in pieces that don't. All gradients are of one type, all moments, and all that
  /// is rounded. Moments in bf16 are computed with in f32, and rounded stochastically as they are
  /// written (MomentRounding): the bits depend on the seed, the step and ElementNumbers alone.
  /// scale f32 [1]; if it is not finite nothing changes.
  virtual void adamw(const std::vector<AdamWPiece>& pieces, Tensor scale,
                     const AdamWParameters& p) = 0;
};

}  // namespace lacuna
