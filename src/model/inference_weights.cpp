#include "model/inference_weights.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "model/weight_layout.h"

namespace lacuna {
namespace {

/// Elements, or the bytes of blocks.
Slot add_memory(Plan& plan, const std::string& name, Shape shape, MatrixFormat format) {
  const MatrixFormatInfo& info = info_of(format);
  if (info.is_float) return plan.add(name, shape, info.dtype);
  return plan.add(name, {shape[0], bytes_of_row(format, shape[1])}, DType::u8);
}

/// Sets what the weights of a pack are to the forward pass: a vector, or matrices.
void set_view(ModelWeights& model, const ModelWeight& first, const Tensor& vector,
              const std::vector<Matrix>& parts) {
  const auto block = [&]() -> BlockWeights& { return model.blocks[std::size_t(first.block)]; };
  const auto expert = [&]() -> ExpertWeights& {
    std::vector<ExpertWeights>& experts = block().experts;
    experts.resize(std::max(experts.size(), std::size_t(first.expert) + 1));
    return experts[std::size_t(first.expert)];
  };
  switch (first.spec->role) {
    case WeightRole::embedding:
      model.embedding = parts.front();
      return;
    case WeightRole::attention_norm:
      block().attention_norm = vector;
      return;
    case WeightRole::query:
      block().qkv = PackedMatrix::joined(parts);
      return;
    case WeightRole::query_bias:
      block().qkv_bias = vector;
      return;
    case WeightRole::query_norm:
      block().query_norm = vector;
      return;
    case WeightRole::key_norm:
      block().key_norm = vector;
      return;
    case WeightRole::attention_out:
      block().attention_out = parts.front();
      return;
    case WeightRole::ffn_norm:
      block().ffn_norm = vector;
      return;
    case WeightRole::gate:
      block().gate_up = PackedMatrix::joined(parts);
      return;
    case WeightRole::ffn_out:
      block().ffn_out = parts.front();
      return;
    case WeightRole::router:
      block().router = parts.front();
      return;
    case WeightRole::expert_gate:
      expert().gate_up = PackedMatrix::joined(parts);
      return;
    case WeightRole::expert_out:
      expert().ffn_out = parts.front();
      return;
    case WeightRole::final_norm:
      model.final_norm = vector;
      return;
    case WeightRole::head:
      model.head = parts.front();
      return;
    case WeightRole::key:
    case WeightRole::value:
    case WeightRole::key_bias:
    case WeightRole::value_bias:
    case WeightRole::up:
    case WeightRole::expert_up:
    case WeightRole::lora_a:
    case WeightRole::lora_b:
      break;
  }
  fail(first.name + " is no beginning of a packed tensor");
}

}  // namespace

/// Decides which memory is allocated, then says what lies where.
class InferenceWeights::Builder {
 public:
  Builder(const ModelConfig& config, DType dtype, const std::vector<WeightStorage>& storage,
          TensorParallelShard share)
      : layout_(config, share),
        storage_(storage),
        slots_(layout_.weights.size()),
        blocks_(std::size_t(config.num_layers)) {
    CHECK(storage.size() == layout_.weights.size(), "the storage of ", storage.size(),
          " weights of a model that has ", layout_.weights.size());
    for (std::size_t i = 0; i < storage_.size(); ++i)
      if (is_vector(i)) storage_[i] = {format_of(dtype), nullptr};
    for (const WeightLayout::Pack& pack : layout_.packs) plan_pack(pack);
  }

  const Plan& plan() const { return plan_; }
  std::size_t blocks() const { return blocks_; }

  void build(const Arena& arena, ModelWeights& views, std::vector<Allocated>& allocated) const {
    for (const WeightLayout::Pack& pack : layout_.packs) {
      std::vector<Matrix> parts;
      for (std::size_t i = pack.first; i < pack.end; ++i) {
        Tensor memory;
        if (slots_[i]) {
          memory = memory_of(arena, i, allocates_whole(pack));
          allocated.push_back(allocation(i, memory));
        }
        if (!is_vector(i)) parts.push_back(matrix_of(i, memory));
      }
      const Tensor vector = is_vector(pack.first) ? arena[slots_[pack.first]] : Tensor();
      set_view(views, layout_.weights[pack.first], vector, parts);
    }
  }

 private:
  bool is_vector(std::size_t i) const { return layout_.weights[i].shape.rank == 1; }

  bool allocates_whole(const WeightLayout::Pack& pack) const {
    const auto same = [&](const WeightStorage& s) {
      return !s.mapped && s.format == storage_[pack.first].format;
    };
    const auto begin = storage_.begin();
    return std::all_of(begin + std::ptrdiff_t(pack.first), begin + std::ptrdiff_t(pack.end), same);
  }

  void plan_pack(const WeightLayout::Pack& pack) {
    const bool whole = allocates_whole(pack);
    for (std::size_t i = pack.first; i < pack.end; ++i) {
      const WeightStorage& s = storage_[i];
      if (s.mapped) continue;
      if (whole && i > pack.first)
        slots_[i] = slots_[pack.first];
      else
        slots_[i] = add_memory(plan_, "weights/" + (whole ? pack.name : layout_.weights[i].name),
                               whole ? pack.shape : layout_.parts[i].shape, s.format);
    }
  }

  Tensor memory_of(const Arena& arena, std::size_t i, bool packed) const {
    const WeightLayout::Part& part = layout_.parts[i];
    const Tensor memory = arena[slots_[i]];
    return packed ? memory.row_range(part.packed_row, part.shape[0]) : memory;
  }

  Matrix matrix_of(std::size_t i, const Tensor& memory) const {
    const Shape& shape = layout_.parts[i].shape;
    const WeightStorage& s = storage_[i];
    return {s.mapped ? s.mapped : memory.data, shape[0], shape[1], s.format,
            s.mapped ? Place::host : memory.place};
  }

  Allocated allocation(std::size_t i, const Tensor& memory) const {
    const ModelWeight& w = layout_.weights[i];
    const WeightLayout::Part& part = layout_.parts[i];
    const std::int64_t row_bytes = memory.cols() * size_of(memory.dtype);
    return {{w.spec, w.name, w.block, w.shape, memory, part.row, part.col},
            storage_[i].format,
            Tensor(memory.data, {memory.rows(), row_bytes}, DType::u8, memory.place)};
  }

  WeightLayout layout_;
  std::vector<WeightStorage> storage_;
  std::vector<Slot> slots_;  // where memory is allocated
  std::size_t blocks_;
  Plan plan_;
};

Plan InferenceWeights::plan(const ModelConfig& config, DType dtype,
                            const std::vector<WeightStorage>& storage, TensorParallelShard share) {
  return Builder(config, dtype, storage, share).plan();
}

InferenceWeights::InferenceWeights(Memory& memory, const ModelConfig& config, DType dtype,
                                   const std::vector<WeightStorage>& storage,
                                   TensorParallelShard share)
    : InferenceWeights(memory, dtype, share, Builder(config, dtype, storage, share)) {
  if (config.tie_embeddings) views_.head = views_.embedding;
}

InferenceWeights::InferenceWeights(Memory& memory, DType dtype, TensorParallelShard share,
                                   const Builder& builder)
    : arena_(memory, builder.plan()) {
  views_.blocks.resize(builder.blocks());
  views_.dtype = dtype;
  views_.share = share;
  builder.build(arena_, views_, allocated_);
}

}  // namespace lacuna
