#include "model/weights.h"

#include <algorithm>
#include <numeric>

#include "model/weight_layout.h"

namespace lacuna {
namespace {

// Tensors begin at multiples of this, so that their parts in flat() do not depend on the dtype: 64
// bytes of the narrowest float.
constexpr std::int64_t kAlignedElements = 32;

int block_of(const WeightLayout& layout, const WeightLayout::Pack& pack) {
  return layout.weights[pack.first].block;
}

/// Where packed tensors begin in flat(), in elements, and its units.
struct PackPlaces {
  std::vector<std::int64_t> begins;
  std::vector<FlatRange> units;

  /// `whole`: the plan of whole tensors, which has an entry for each of them.
  PackPlaces(const WeightLayout& layout, const Plan& whole) {
    const std::int64_t size = size_of(whole.entries().front().dtype);
    for (std::size_t i = 0; i < layout.packs.size(); ++i) {
      begins.push_back(whole.entries()[i].offset / size);
      if (i == 0 || block_of(layout, layout.packs[i]) != block_of(layout, layout.packs[i - 1]))
        units.push_back({begins.back(), 0});
    }
    std::int64_t end = whole.bytes() / size;
    for (auto u = units.rbegin(); u != units.rend(); end = u++->begin) u->size = end - u->begin;
  }
};

/// Which window each unit lies in.
std::vector<std::size_t> windows_of_units(const WeightLayout& layout, std::size_t units) {
  const bool only_blocks = block_of(layout, layout.packs.front()) == 0;
  std::vector<std::size_t> windows;
  for (std::size_t u = 0; u < units; ++u)
    windows.push_back(only_blocks ? u % 2 : u == 0 ? 2 : (u - 1) % 2);
  if (!only_blocks) windows.back() = layout.tied_head ? 3 : 2;
  return windows;
}

/// The tensor that the forward pass knows a weight by.
Tensor& tensor_of(ModelTensors& t, const ModelWeight& w) {
  const auto block = [&]() -> BlockTensors& { return t.blocks[std::size_t(w.block)]; };
  switch (w.spec->role) {
    case WeightRole::embedding:
      return t.embedding;
    case WeightRole::attention_norm:
      return block().attention_norm;
    case WeightRole::query:
    case WeightRole::key:
    case WeightRole::value:
      return block().qkv;
    case WeightRole::query_bias:
    case WeightRole::key_bias:
    case WeightRole::value_bias:
      return block().qkv_bias;
    case WeightRole::query_norm:
      return block().query_norm;
    case WeightRole::key_norm:
      return block().key_norm;
    case WeightRole::attention_out:
      return block().attention_out;
    case WeightRole::ffn_norm:
      return block().ffn_norm;
    case WeightRole::gate:
    case WeightRole::up:
      return block().gate_up;
    case WeightRole::ffn_out:
      return block().ffn_out;
    case WeightRole::router:
    case WeightRole::expert_gate:
    case WeightRole::expert_up:
    case WeightRole::expert_out:
      break;
    case WeightRole::final_norm:
      return t.final_norm;
    case WeightRole::head:
      return t.head;
    case WeightRole::lora_a:
    case WeightRole::lora_b:
      break;
  }
  fail("a weight that is no tensor of the model");
}

Adapter& adapter_of_target(BlockAdapters& block, WeightRole target) {
  switch (target) {
    case WeightRole::query:
    case WeightRole::key:
    case WeightRole::value:
      return block.qkv;
    case WeightRole::attention_out:
      return block.attention_out;
    case WeightRole::gate:
    case WeightRole::up:
      return block.gate_up;
    case WeightRole::ffn_out:
      return block.ffn_out;
    default:
      fail("a weight that has no adapter");
  }
}

/// Sets the tensor of `t` that a weight is in. `packed` holds it and its neighbours; `own`: its
/// rows.
void set_tensor(ModelTensors& t, const ModelWeight& w, const WeightLayout::Part& part,
                const Tensor& packed, const Tensor& own) {
  const bool is_a = w.spec->role == WeightRole::lora_a, is_b = w.spec->role == WeightRole::lora_b;
  if (!is_a && !is_b) {
    tensor_of(t, w) = packed;
    return;
  }
  Adapter& adapter =
      adapter_of_target(t.blocks[std::size_t(w.block)].adapters, adapter_of(*w.spec).target->role);
  if (is_a)
    adapter.a = packed;
  else
    adapter.parts.push_back({own, part.target_row});
}

std::size_t count_blocks(const WeightLayout& layout) {
  int last = -1;
  for (const ModelWeight& w : layout.weights) last = std::max(last, w.block);
  return std::size_t(last + 1);
}

const WeightLayout& trainable(const ModelConfig& config, const WeightLayout& layout) {
  check_trainable(config);
  return layout;
}

}  // namespace

std::vector<FlatRange> intersection(const std::vector<FlatRange>& a,
                                    const std::vector<FlatRange>& b) {
  std::vector<FlatRange> common;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    const std::int64_t begin = std::max(x->begin, y->begin), end = std::min(x->end(), y->end());
    if (begin < end) common.push_back({begin, end - begin});
    if (x->end() < y->end())
      ++x;
    else
      ++y;
  }
  return common;
}

void check_trainable(const ModelConfig& config) {
  if (config.has_experts())
    fail_usage(str("model.num_experts = ", config.num_experts,
                   ": training and LoRA of a mixture of experts are not supported; such a model is "
                   "for inference"));
}

ModelTensors::ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
                           DType dtype, TensorParallelShard share, FlatLayout flat_layout,
                           Extent extent)
    : ModelTensors(memory, trainable(config, WeightLayout(config, share)), kind, dtype, flat_layout,
                   extent) {}

ModelTensors::ModelTensors(Memory& memory, const WeightLayout& layout, const std::string& kind,
                           DType dtype, FlatLayout flat_layout, Extent extent)
    : blocks(count_blocks(layout)),
      share_(layout.share),
      extent_(extent),
      arena_(memory, plan(layout, kind, dtype, flat_layout, extent)) {
  const PackPlaces places(layout, plan(layout, kind, dtype, flat_layout));
  units_ = places.units;
  const std::vector<std::size_t> windows = windows_of_units(layout, units_.size());
  std::size_t unit = 0;
  for (std::size_t p = 0; p < layout.packs.size(); ++p) {
    const WeightLayout::Pack& pack = layout.packs[p];
    const std::int64_t begin = places.begins[p];
    while (begin >= units_[unit].end()) ++unit;
    const Tensor packed = extent == Extent::whole
                              ? arena_[Slot{int(p)}]
                              : arena_[Slot{int(windows[unit])}]
                                    .row_range(begin - units_[unit].begin, pack.shape.count())
                                    .reshaped(pack.shape);
    for (std::size_t i = pack.first; i < pack.end; ++i) {
      const ModelWeight& w = layout.weights[i];
      const WeightLayout::Part& part = layout.parts[i];
      const Tensor own = packed.row_range(part.packed_row, part.shape[0]);
      set_tensor(*this, w, part, packed, own);
      const std::int64_t width = packed.count() / packed.shape[0];
      named_.push_back({w.spec, w.name, w.block, w.shape, own, part.row, part.col,
                        begin + part.packed_row * width});
    }
  }
  if (layout.tied_head) head = embedding;
}

ModelTensors::operator ModelWeights() const {
  ModelWeights w{embedding, {}, final_norm, head, embedding.dtype, share_, nullptr};
  for (const BlockTensors& b : blocks)
    w.blocks.push_back({.attention_norm = b.attention_norm,
                        .qkv = {{b.qkv}},
                        .qkv_bias = b.qkv_bias,
                        .query_norm = b.query_norm,
                        .key_norm = b.key_norm,
                        .attention_out = b.attention_out,
                        .ffn_norm = b.ffn_norm,
                        .gate_up = {{b.gate_up}},
                        .ffn_out = b.ffn_out,
                        .adapters = {},
                        .router = {},
                        .experts = {}});
  return w;
}

ModelWeights with_adapters(ModelWeights base, const ModelTensors& adapters, float scale) {
  CHECK(adapters.blocks.size() == base.blocks.size(), "adapters of ", adapters.blocks.size(),
        " blocks of a model that has ", base.blocks.size());
  for (std::size_t l = 0; l < base.blocks.size(); ++l) {
    BlockAdapters& block = base.blocks[l].adapters = adapters.blocks[l].adapters;
    for (Adapter* adapter : {&block.qkv, &block.attention_out, &block.gate_up, &block.ffn_out})
      adapter->scale = scale;
  }
  return base;
}

ModelWeights without_adapters(ModelWeights weights) {
  for (BlockWeights& block : weights.blocks) block.adapters = {};
  return weights;
}

Plan ModelTensors::plan(const ModelConfig& config, const std::string& kind, DType dtype,
                        TensorParallelShard share, FlatLayout flat_layout, Extent extent) {
  return plan(trainable(config, WeightLayout(config, share)), kind, dtype, flat_layout, extent);
}

Plan ModelTensors::plan(const WeightLayout& layout, const std::string& kind, DType dtype,
                        FlatLayout flat_layout, Extent extent) {
  CHECK(extent == Extent::whole || flat_layout.aligned_units, kind, ": windows need aligned units");
  if (extent == Extent::windows) {
    const std::vector<FlatRange> units = units_of(layout, flat_layout);
    const std::vector<std::size_t> windows = windows_of_units(layout, units.size());
    std::vector<std::int64_t> sizes(*std::max_element(windows.begin(), windows.end()) + 1);
    for (std::size_t u = 0; u < units.size(); ++u)
      sizes[windows[u]] = std::max(sizes[windows[u]], units[u].size);
    Plan plan;
    for (std::size_t w = 0; w < sizes.size(); ++w)
      plan.add(str(kind, "/window ", w), {sizes[w]}, dtype);
    return plan;
  }
  const std::int64_t unit = std::lcm(kAlignedElements, flat_layout.multiple);
  Plan plan;
  int before = -1;  // the block of the pack before
  for (const WeightLayout::Pack& pack : layout.packs) {
    const int block = block_of(layout, pack);
    const bool begins_unit = block != before;
    plan.align((begins_unit && flat_layout.aligned_units ? unit : kAlignedElements) *
               size_of(dtype));
    plan.add(str(kind, "/", pack.name), pack.shape, dtype);
    before = block;
  }
  plan.align(unit * size_of(dtype));
  return plan;
}

std::vector<FlatRange> ModelTensors::units_of(const WeightLayout& layout, FlatLayout flat_layout) {
  return PackPlaces(layout, plan(layout, "", DType::f32, flat_layout)).units;
}

std::vector<FlatRange> ModelTensors::ranges_of(
    const WeightLayout& layout, FlatLayout flat_layout,
    const std::function<bool(const WeightSpec&)>& is_wanted) {
  const PackPlaces places(layout, plan(layout, "", DType::f32, flat_layout));
  std::vector<FlatRange> ranges;
  for (std::size_t p = 0; p < layout.packs.size(); ++p) {
    const WeightLayout::Pack& pack = layout.packs[p];
    const std::int64_t width = pack.shape.count() / pack.shape[0];
    for (std::size_t i = pack.first; i < pack.end; ++i)
      if (is_wanted(*layout.weights[i].spec))
        ranges.push_back(
            {places.begins[p] + layout.parts[i].packed_row * width, layout.parts[i].shape.count()});
  }
  return ranges;
}

Tensor ModelTensors::flat() const {
  CHECK(extent_ == Extent::whole, "windows are not one vector");
  return memory();
}

Tensor ModelTensors::memory() const {
  const Tensor first = arena_[Slot{0}];
  return Tensor(first.data, {arena_.plan().bytes() / size_of(first.dtype)}, first.dtype,
                first.place);
}

Tensor ModelTensors::elements(const FlatRange& range) const {
  if (extent_ == Extent::whole) return flat().row_range(range.begin, range.size);
  const auto unit = std::find_if(units_.begin(), units_.end(), [&](const FlatRange& u) {
    return range.begin >= u.begin && range.end() <= u.end();
  });
  CHECK(unit != units_.end(), "elements [", range.begin, ", ", range.end(),
        ") of windows lie in no unit");
  const auto first = std::find_if(named_.begin(), named_.end(),
                                  [&](const NamedWeight& w) { return w.flat == unit->begin; });
  const Tensor all(first->tensor.data, {unit->size}, first->tensor.dtype, first->tensor.place);
  return all.row_range(range.begin - unit->begin, range.size);
}

std::int64_t ModelTensors::parameters() const {
  std::int64_t n = 0;
  for (const NamedWeight& w : named_) n += w.whole.count();
  return n;
}

std::vector<WeightPiece> pieces_within(const ModelTensors& tensors,
                                       const std::vector<FlatRange>& ranges) {
  std::vector<WeightPiece> pieces;
  for (const FlatRange& range : ranges)
    for (std::size_t i = 0; i < tensors.named().size(); ++i) {
      const Tensor& t = tensors.named()[i].tensor;
      const std::int64_t at = tensors.named()[i].flat, begin = std::max(at, range.begin),
                         end = std::min(at + t.count(), range.end());
      if (begin < end)
        pieces.push_back(
            {i, begin - at, t.reshaped({t.count()}).row_range(begin - at, end - begin)});
    }
  return pieces;
}

}  // namespace lacuna
