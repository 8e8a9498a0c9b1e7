#include "model_io/add_mask_token.h"

#include <cstddef>
#include <cstring>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "core/block_formats.h"
#include "core/check.h"
#include "core/json.h"
#include "formats/rounding.h"
#include "model/weight_spec.h"
#include "model_io/loaded_model.h"

namespace lacuna {
namespace {

using MaskJson = nlohmann::ordered_json;

constexpr const char* kMaskText = "<|mdm_mask|>";

std::string with_mask(const std::string& tokenizer, std::int64_t id, const std::string& name) {
  auto json = parse_json_object<MaskJson>(tokenizer, name);
  MaskJson& added = json["added_tokens"];
  if (!added.is_array()) added = MaskJson::array();
  added.push_back({{"id", id},
                   {"content", kMaskText},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", true}});
  return json.dump(2);
}

/// Tensors of a model, in its file where they lie there whole and else in memory.
class Collected {
 public:
  explicit Collected(const ModelReader& reader) : reader_(reader) {}

  Tensor tensor(const std::string& name) { return whole_tensor(reader_, name, memory_); }
  /// A table in which row `id` is the mean of rows [0, tokens).
  Tensor with_mean_row(const std::string& name, std::int64_t id, std::int64_t rows,
                       std::int64_t tokens) {
    const Tensor before = tensor(name);
    const std::int64_t cols = before.cols();
    const Tensor after = zeros({rows, cols}, before.dtype);
    std::memcpy(after.data, before.data, std::size_t(before.bytes()));
    std::vector<double> sum(static_cast<std::size_t>(cols));
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (std::int64_t r = 0; r < tokens; ++r) {
      const Tensor from = before.row_range(r, 1).reshaped({cols});
      dequantise(format_of(from.dtype), from.data, cols, row.data());
      for (std::int64_t c = 0; c < cols; ++c) sum[std::size_t(c)] += double(row[std::size_t(c)]);
    }
    for (std::int64_t c = 0; c < cols; ++c)
      row[std::size_t(c)] = float(sum[std::size_t(c)] / double(tokens));
    const Tensor to = after.row_range(id, 1).reshaped({cols});
    round_to(row.data(), to, reader_.path() + ": the mean of tensor '" + name + "'");
    return after;
  }

 private:
  Tensor zeros(Shape shape, DType dtype) {
    memory_.emplace_back(std::size_t(shape.count() * size_of(dtype)));
    return {memory_.back().data(), shape, dtype};
  }
  const ModelReader& reader_;
  std::vector<std::vector<std::byte>> memory_;
};

}  // namespace

MaskTokenResult import_with_mask_token(const std::string& model, const std::string& checkpoint) {
  const ModelSource source(model);
  const Tokenizer& tokenizer =
      source.need_tokenizer("a mask token is added to a tokenizer.json and to the tables");
  MaskTokenResult result{source.config.mask_token, false, source.config.vocab_size};
  CheckpointInfo info = source.reader.info();
  Collected collected(source.reader);
  const std::int64_t tokens = tokenizer.vocab_size();
  if (result.id < 0) {
    CHECK(tokens <= result.rows, source.reader.path(), ": its tokenizer has ", tokens,
          " ids, but its model ", result.rows);
    result.id = tokens;
    result.is_new = true;
    result.has_grown = tokens == result.rows;
    result.rows += int(result.has_grown);
    info.tokenizer = with_mask(info.tokenizer, result.id, source.reader.path() + ": tokenizer");
  }
  Config config = config_of_checkpoint(source.reader);
  config.model.vocab_size = result.rows;
  config.model.mask_token = result.id;
  info.config = to_toml(config);

  CheckpointTensors tensors;
  for (const ModelWeight& w : model_weights(source.config)) {
    const bool is_table = w.spec->role == WeightRole::embedding || w.spec->role == WeightRole::head;
    tensors.model.push_back(
        {w.name, is_table && result.is_new
                     ? collected.with_mean_row(w.name, result.id, result.rows, tokens)
                     : collected.tensor(w.name)});
  }
  save_checkpoint(checkpoint, info, tensors);
  return result;
}

}  // namespace lacuna
