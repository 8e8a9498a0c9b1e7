#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_reader.h"
#include "checkpoint/stored_adapter.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/inference_weights.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// What --checkpoint names: the model's config, its tokenizer, and where to read the weights.
class ModelSource {
  std::unique_ptr<const ModelReader> opened_;
  std::string unusable_;  // why the checkpoint's tokenizer is, if it is

 public:
  /// As resolve_checkpoint() takes it. Special tokens that the config leaves open are the
  /// tokenizer's. A tokenizer that this program cannot be is as good as none until it is needed.
  /// `with`: adapters beside the model, each as open_adapter() takes it, or NAME=that. UsageError
  /// for two of one name.
  explicit ModelSource(const std::string& what, const std::vector<std::string>& with = {});
  /// The tokenizer. Throws UsageError when there is none: "…: holds no tokenizer; <advice>", and
  /// Error when it cannot be used: "<why>; <advice>".
  const Tokenizer& need_tokenizer(const std::string& advice) const;
  /// The Jinja template that comes with the model, or "".
  std::string chat_template() const;
  /// Error when an id is no row of the model's embedding, which a foreign tokenizer may give.
  void check_ids(const std::vector<std::int32_t>& ids) const;

  const ModelReader& reader;
  ModelConfig config;
  std::optional<Tokenizer> tokenizer;
  struct NamedAdapter {
    std::string name;
    StoredAdapter stored;
  };
  std::vector<NamedAdapter> adapters;
};

/// A model ready for use, by any number of decoders, with adapters beside it or without. What
/// borrows from it must not outlive it.
struct LoadedModel {
  /// load_model().
  LoadedModel(ModelSource from, std::unique_ptr<Ops> on, DType dtype,
              TensorParallelShard share = {});

  const ModelSource source;
  const std::unique_ptr<Ops> ops;
  const InferenceWeights base;  // may lie in the files that source.reader maps
  const std::vector<std::unique_ptr<const ModelTensors>> adapters;  // source.adapters
  const ModelWeights weights;  // what is computed with: the base, and its first adapters if any

  const ModelConfig& config() const { return source.config; }
  /// The same base with other ones of source.adapters.
  ModelWeights with(std::size_t adapter) const;
};

/// Reads the weights for `ops`, with activations of `dtype` (storage_of()), or one shard of them. A
/// caller checks what it was asked for against ModelSource::config before, as this may take
/// minutes. Errors as read_weights() and as Arena for want of memory.
LoadedModel load_model(ModelSource source, std::unique_ptr<Ops> ops, DType dtype,
                       TensorParallelShard share = {});

}  // namespace lacuna
