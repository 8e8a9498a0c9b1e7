#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/arena.h"
#include "core/tensor.h"
#include "kernels/ops.h"
#include "model/adapter.h"
#include "model/model_weights.h"
#include "model/tensor_parallel_shard.h"
#include "model/weight_layout.h"
#include "model/weight_spec.h"

namespace lacuna {

/// The weights of one transformer block, or their gradients or moments; of a model that ranks
/// share, this rank's part (H, K and F then count its own). Letters as in kernels/ops.h.
struct BlockTensors {
  Tensor attention_norm;  // [C]
  Tensor qkv;             // [(H+2K) D, C]: rows of the query, key and value projections
  Tensor qkv_bias;        // [(H+2K) D] with model.qkv_bias, else none
  Tensor query_norm;      // [D] with model.qk_norm, else none
  Tensor key_norm;        // [D] likewise
  Tensor attention_out;   // [C, H D]
  Tensor ffn_norm;        // [C]
  Tensor gate_up;         // [2F, C]: rows of the gate, then of the up projection
  Tensor ffn_out;         // [C, F]
  BlockAdapters adapters;
};

/// A weight of the table and where it lies. Packed tensors are listed by their parts (q_proj,
/// k_proj, v_proj; ff_proj is the gate, up_proj), each contiguous.
struct NamedWeight {
  const WeightSpec* spec;
  std::string name;               // in Hugging Face LLaDA files
  int block;                      // -1 outside the blocks
  Shape whole;                    // on all ranks together
  Tensor tensor;                  // what this rank holds of it
  std::int64_t row = 0, col = 0;  // where `tensor` begins in the whole; a vector is one row
  std::int64_t flat = 0;          // where it begins in ModelTensors::flat()

  WeightKind kind() const { return spec->kind; }
  /// Whether every rank of the tensor parallel group holds all of it.
  bool replicated() const { return spec->axis == ParallelAxis::none; }
};

/// Consecutive elements [begin, begin + size) of ModelTensors::flat().
struct FlatRange {
  std::int64_t begin = 0, size = 0;
  std::int64_t end() const { return begin + size; }
};

/// What lies in one of `a` and one of `b`, a range for each pair that has something in common. Both
/// are in order and do not overlap, and so is the result.
std::vector<FlatRange> intersection(const std::vector<FlatRange>& a,
                                    const std::vector<FlatRange>& b);

/// Throws UsageError for a model that is for inference alone: a mixture of experts.
void check_trainable(const ModelConfig& config);

/// Where the tensors of a model lie in ModelTensors::flat().
struct FlatLayout {
  std::int64_t multiple = 1;  // flat() has a multiple of so many elements
  // Every unit has: the embedding, each block, and what follows the blocks.
  bool aligned_units = false;

  bool operator==(const FlatLayout&) const = default;
};

/// One tensor for every weight of a model that is trained, or of a rank's part of it, in one
/// allocation, zeroed: for training, which needs all of them as one vector. Those are all weights;
/// or adapters alone, and what is no adapter is then a tensor without data. Weights that are only
/// used: InferenceWeights.
///
/// Windows are such tensors of which not all exist at a time: block l lies in the memory of block
/// l - 2, and what follows the blocks in that of the embedding, unless the head is tied to that.
/// The places in flat() are those of whole tensors, but flat() itself does not exist.
class ModelTensors {
 public:
  enum class Extent : std::uint8_t { whole, windows };
  /// `kind` names them in memory tables: "weights", "gradients"…  config.vocab_size must be set.
  /// Throws UsageError when the model cannot be shared like that, and as check_trainable().
  ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
               DType dtype = DType::f32, TensorParallelShard share = {}, FlatLayout layout = {},
               Extent extent = Extent::whole);
  /// Of any layout: of a model's weights, or of adapters.
  ModelTensors(Memory& memory, const WeightLayout& weights, const std::string& kind, DType dtype,
               FlatLayout layout = {}, Extent extent = Extent::whole);
  /// What that allocates.
  static Plan plan(const ModelConfig& config, const std::string& kind, DType dtype = DType::f32,
                   TensorParallelShard share = {}, FlatLayout layout = {},
                   Extent extent = Extent::whole);
  static Plan plan(const WeightLayout& weights, const std::string& kind, DType dtype,
                   FlatLayout layout = {}, Extent extent = Extent::whole);
  /// The ranges of flat() that units() has.
  static std::vector<FlatRange> units_of(const WeightLayout& weights, FlatLayout layout);
  /// Where in flat() those weights lie for which `is_wanted`, a range for each, in order.
  static std::vector<FlatRange> ranges_of(const WeightLayout& weights, FlatLayout layout,
                                          const std::function<bool(const WeightSpec&)>& is_wanted);

  Tensor embedding;  // [V,C], or this rank's ids of it
  std::vector<BlockTensors> blocks;
  Tensor final_norm;  // [C]
  Tensor head;        // like the embedding, which it is when tied

  /// Views of them, as weights that a forward pass reads. Not of adapters.
  operator ModelWeights() const;  // NOLINT(google-explicit-constructor)
  /// As model_weights() lists them.
  const std::vector<NamedWeight>& named() const { return named_; }
  /// Every element as one vector, with zeros where alignment left gaps. Elements lie in the same
  /// places whatever the dtype, in the order of the forward pass; a tied head is the embedding. Not
  /// of windows.
  Tensor flat() const;
  /// All memory as one vector: flat(), or the windows.
  Tensor memory() const;
  /// A range of flat(); of windows, within one unit.
  Tensor elements(const FlatRange& range) const;
  /// The embedding, each block, and what follows the blocks: together all of flat(). Of adapters:
  /// each block.
  const std::vector<FlatRange>& units() const { return units_; }
  const FlatRange& block_unit(std::size_t l) const { return units_[l + (are_adapters() ? 0 : 1)]; }
  bool are_adapters() const { return !embedding.data; }
  bool are_windows() const { return extent_ == Extent::windows; }
  DType dtype() const { return named_.front().tensor.dtype; }
  /// Elements of the whole model, without the gaps.
  std::int64_t parameters() const;
  TensorParallelShard share() const { return share_; }

 private:
  TensorParallelShard share_;
  Extent extent_;
  std::vector<FlatRange> units_;
  Arena arena_;
  std::vector<NamedWeight> named_;
};

/// What a forward pass reads of a model with adapters beside its weights: `base`, and the tensors
/// of `adapters`, whose products are multiplied by `scale`.
ModelWeights with_adapters(ModelWeights base, const ModelTensors& adapters, float scale);
/// The same without them.
ModelWeights without_adapters(ModelWeights weights);

/// Elements of one weight that lie one behind the other: [first, first + values.count()) of what
/// this rank holds of weight number `weight` (of named()).
struct WeightPiece {
  std::size_t weight = 0;
  std::int64_t first = 0;
  Tensor values;  // a vector
};
/// The pieces of weights that lie within ranges of flat(), in that order.
std::vector<WeightPiece> pieces_within(const ModelTensors& tensors,
                                       const std::vector<FlatRange>& ranges);

/// LLaDA's initialisation (its "mitchell"): InitialScale of each weight, normals cut at 3 sigma.
/// Depends on the seed and each element's place in the whole named tensor alone.
void initialise(const ModelTensors& weights, const ModelConfig& config, std::uint64_t seed,
                Ops& ops);
/// The same of some pieces, which may lie elsewhere; `weights` says what they are pieces of.
void initialise(const std::vector<WeightPiece>& pieces, const ModelTensors& weights,
                const ModelConfig& config, std::uint64_t seed, Ops& ops);

}  // namespace lacuna
