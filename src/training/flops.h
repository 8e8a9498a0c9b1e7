#pragma once
#include <cstdint>

#include "config/config.h"
#include "model/sequences.h"

namespace lacuna {

/// What one pass computes, of which GEMM operations follow. Numbers of rows and of pairs of a query
/// and a key that it attends to; `predicted`: of the rows that get logits.
struct PassWork {
  double rows = 0, predicted = 0;
  double pairs = 0, predicted_pairs = 0;

  PassWork& operator+=(const PassWork& other);
};
/// Of sequences of one length, in which the attention is causal or bidirectional.
PassWork work_of(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                 std::int64_t predicted);
/// Of block diffusion (diffusion/block_rows.h) on texts of `length` tokens, each in `views` noisy
/// versions, in which on average `predicted` tokens of all texts are masked, in every block some;
/// and of the next-token loss on the clean tokens.
PassWork block_work_of(const ModelConfig& model, std::int64_t texts, std::int64_t length,
                       std::int64_t block_size, std::int64_t views, double predicted,
                       bool autoregressive);

/// Floating-point operations that a training micro-batch asks of GEMMs, a multiply-add
/// counting 2: forward once, backward twice, what backward computes again not counted. N =
/// sequences * length tokens, of which M are predicted; the last block's queries, feed-forward and
/// the head are needed for those alone:
///   6 (N (L-1) (2 C^2 + 2 C K D + 3 C F) + N 2 C K D + M (2 C^2 + 3 C F) + M V C)
///   + 12 C (N (L-1) + M) S,  S = T keys per query, or (T+1)/2 when causal.
/// Of a mixture of experts 3 C F are of the experts that compute a token, and the router adds C
/// times the number of experts. In block diffusion N counts noisy and clean rows, and N S the pairs
/// that their intervals allow. Over the seconds it took and the machine's GEMM peak this is the
/// utilisation (MFU) that training prints.
double training_flops(const ModelConfig& model, const PassWork& work);
/// Where the weights are frozen there is no gradient of them: 4 in place of 6. What adapters add,
/// r (in + out) for in times out, is not counted.
double adapter_training_flops(const ModelConfig& model, const PassWork& work);
double training_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted);

/// The same with what backward computes again, the attention scores: 14 C (...) S instead of 12.
double executed_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted);

/// What the backward pass computes again on top of that (train.recompute): of every block but the
/// last, the products of what is named, of N rows, and for a whole block 4 C N S of attention.
double recomputed_flops(const ModelConfig& model, const PassWork& work, const Recompute& recompute);

/// Of training_flops() and recomputed_flops() together, the products with the blocks' matrices:
/// what compute.linear_dtype is about.
double block_matrix_flops(const ModelConfig& model, const PassWork& work,
                          const Recompute& recompute);

/// Of a forward pass alone: a third of the products, 4 C (...) S of attention.
double forward_flops(const ModelConfig& model, const PassWork& work);
double forward_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                     std::int64_t predicted);

/// The formula in words, for --help.
inline constexpr const char* kUtilisationHelp =
    "Utilisation (mfu, \"of peak\") = GEMM operations of a step / seconds / peak, where\n"
    "operations = 6 (N (L-1) (2 C^2 + 2 C K D + 3 C F) + N 2 C K D + M (2 C^2 + 3 C F) + M V C)\n"
    "             + 12 C (N (L-1) + M) S;\n"
    "N tokens, M of them predicted, L layers, C width, K key/value heads of width D, F "
    "feed-forward\n"
    "width, V vocabulary, S keys per query (T, or (T+1)/2 when causal; in block diffusion what "
    "its\n"
    "noisy and clean rows attend to): a multiply-add counts 2,\n"
    "recomputation nothing. The peak is what f32 products of 512 to 2048 rows reach on this "
    "machine,\n"
    "measured at the start. Time spent on validation, samples, checkpoints and reading data is "
    "not\n"
    "counted in tokens/s and utilisation.";

}  // namespace lacuna
