#include "model_io/read_inference_weights.h"

#include "model/weight_layout.h"
#include "model_io/tensor_io.h"

namespace lacuna {
namespace {

/// Without conversion, whatever the format.
void copy_stored(const Matrix& stored, const InferenceWeights::Allocated& to, Ops& ops) {
  const std::int64_t first = bytes_of_row(stored.format, to.weight.col);
  ops.copy(to.bytes, stored.row_range(to.weight.row, to.bytes.rows())
                         .as_bytes()
                         .column_range(first, to.bytes.cols()));
}

}  // namespace

std::vector<WeightStorage> storage_of(const ModelReader& reader, const ModelConfig& config,
                                      const Ops& ops, DType dtype, TensorParallelShard share) {
  const WeightLayout layout(config, share);
  std::vector<WeightStorage> storage;
  for (const WeightLayout::Pack& pack : layout.packs) {
    std::vector<Matrix> in_file;  // this rank's parts that can stay there
    for (std::size_t i = pack.first; i < pack.end; ++i) {
      const ModelWeight& w = layout.weights[i];
      const WeightLayout::Part& part = layout.parts[i];
      const std::string from = stored_group(reader, "model", w.name, w.shape);
      const Matrix stored = reader.stored(from, w.name);
      const bool is_read = stored.data && ops.reads(stored.format, dtype),
                 stays = is_read && ops.place() == Place::host && part.shape[1] == stored.cols();
      storage.push_back({is_read ? stored.format : format_of(dtype)});
      in_file.push_back(stays ? stored.row_range(part.row, part.shape[0]) : Matrix());
      if (stays) reader.verify(from, w.name);
    }
    const bool apart = PackedMatrix::joined(in_file).parts.size() > 1;
    for (std::size_t i = 0; i < in_file.size(); ++i)
      if (!apart || !in_file[i].is_float()) storage[pack.first + i].mapped = in_file[i].data;
  }
  return storage;
}

void read_weights(const ModelReader& reader, const InferenceWeights& weights, Ops& ops) {
  for (const InferenceWeights::Allocated& a : weights.allocated()) {
    const NamedWeight& w = a.weight;
    const std::string from = stored_group(reader, "model", w.name, w.whole);
    const Matrix stored = reader.stored(from, w.name);
    if (stored.data && stored.format == a.format) {
      reader.verify(from, w.name);
      copy_stored(stored, a, ops);
    } else {
      read_piece(reader, "model", w, {0, 0, w.tensor.reshaped({w.tensor.count()})}, ops);
    }
  }
  ops.synchronize();
}

}  // namespace lacuna
