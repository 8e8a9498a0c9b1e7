#include "training/lora.h"

#include <algorithm>
#include <string>

#include "config/dtype.h"
#include "core/check.h"
#include "core/text.h"
#include "kernels/host_formats.h"

namespace lacuna {
namespace {

MatrixFormat base_format(const Config& config) {
  if (config.lora.base_dtype == BaseDtype::automatic)
    return format_of(type_of(config.compute.dtype));
  return format_named(word_of(config.lora.base_dtype)).value();
}

}  // namespace

void check_lora(const Config& config) {
  const LoraConfig& lora = config.lora;
  check_trainable(config.model);
  if (config.optimizer.name == OptimizerName::muon)
    fail_usage(str("lora.rank = ", lora.rank,
                   " needs optimizer.name = \"adamw\": muon is for whole matrices"));
  const MatrixFormat format = base_format(config);
  const std::int64_t block = info_of(format).block_elements;
  std::vector<std::string> known;
  for (const AdapterSpec& adapter : adapter_table()) {
    const WeightSpec& w = *adapter.target;
    if (!w.is_in(config.model)) continue;
    known.emplace_back(w.llada);
    const Shape shape = w.shape(config.model);
    const bool cut = w.axis == ParallelAxis::columns;
    if (const std::int64_t cols = shape[1] / (cut ? config.parallel.tensor_parallel : 1);
        cols % block != 0)
      fail_usage(str("lora.base_dtype = \"", word_of(lora.base_dtype), "\" has blocks of ", block,
                     " elements, but ", w.llada, " has ", cols, " columns",
                     cut && config.parallel.tensor_parallel > 1 ? " on each rank" : ""));
    if (std::find(lora.targets.begin(), lora.targets.end(), w.llada) != lora.targets.end() &&
        lora.rank >= std::min(shape[0], shape[1]))
      fail_usage(
          str("lora.rank = ", lora.rank, " must be below both extents of ", w.llada, ' ', shape));
  }
  for (const std::string& name : lora.targets)
    if (std::find(known.begin(), known.end(), name) == known.end())
      fail_usage(str("lora.targets: '", name, "' is no matrix of a block; there are ",
                     listed(known, "and")));
}

WeightLayout trained_layout(const Config& config, Trained trained, TensorParallelShard share) {
  check_trainable(config.model);
  if (trained == Trained::weights) return {config.model, share};
  check_lora(config);
  return {config.model, config.lora, share};
}

std::vector<WeightStorage> frozen_storage(const Config& config) {
  const MatrixFormat format = base_format(config);
  std::vector<WeightStorage> storage;
  for (const ModelWeight& w : model_weights(config.model))
    storage.push_back(
        {w.spec->is_block_matrix() ? format : format_of(type_of(config.compute.dtype))});
  return storage;
}

WeightScratch planned_scratch(const Config& config, TensorParallelShard share, Place place,
                              bool training) {
  WeightScratch scratch;
  const WeightLayout adapters(config.model, config.lora, share);
  for (const WeightLayout::Pack& pack : adapters.packs)
    if (adapters.weights[pack.first].spec->role == WeightRole::lora_a)
      scratch.low_rank = std::max(scratch.low_rank, pack.shape[0]);
  const MatrixFormat format = base_format(config);
  const DType type = type_of(config.compute.dtype);
  const bool read = !training && place == Place::host && host_reads(format, type);
  if (format == format_of(type) || read) return scratch;
  const WeightLayout model(config.model, share);
  for (const WeightLayout::Pack& pack : model.packs)
    if (model.weights[pack.first].spec->is_block_matrix())
      scratch.dequantised = std::max(scratch.dequantised, dequantised_elements(pack.shape));
  return scratch;
}

}  // namespace lacuna
