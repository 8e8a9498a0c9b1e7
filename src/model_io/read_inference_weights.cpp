#include "model_io/read_inference_weights.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/block_formats.h"
#include "core/parallel.h"
#include "model/weight_layout.h"
#include "model_io/tensor_io.h"

namespace lacuna {
namespace {

constexpr std::int64_t kCopiedBytes = std::int64_t{16} << 20;  // at a time

/// Without conversion, whatever the format.
void copy_stored(const ModelReader& reader, const std::string& group,
                 const InferenceWeights::Allocated& to, Ops& ops) {
  const NamedWeight& w = to.weight;
  const std::int64_t first = bytes_of_row(to.format, w.col),
                     row_bytes = bytes_of_row(to.format, w.whole[1]),
                     most = std::max<std::int64_t>(
                         1, kCopiedBytes / std::max<std::int64_t>(1, row_bytes));
  const bool in_place = to.bytes.place == Place::host && to.bytes.cols() == row_bytes;
  std::vector<std::uint8_t> rows(
      in_place ? 0 : std::size_t(std::min(most, to.bytes.rows()) * row_bytes));
  for (std::int64_t row = 0; row < to.bytes.rows(); row += most) {
    const std::int64_t n = std::min(most, to.bytes.rows() - row);
    if (in_place) {
      reader.read_rows(group, w.name, w.row + row, to.bytes.row_range(row, n));
      continue;
    }
    const Tensor some(rows.data(), {n, row_bytes}, DType::u8);
    reader.read_rows(group, w.name, w.row + row, some);
    ops.copy(to.bytes.row_range(row, n), some.column_range(first, to.bytes.cols()));
    ops.synchronize();  // before the rows are overwritten
  }
}

/// Rounded to a format of blocks from whatever it is stored in.
void quantise_stored(const ModelReader& reader, const std::string& group,
                     const InferenceWeights::Allocated& to, Ops& ops, ThreadPool& pool) {
  const NamedWeight& w = to.weight;
  reader.verify(group, w.name);
  const MatrixFormatInfo& info = info_of(to.format);
  const std::int64_t row_bytes = to.bytes.cols(),
                     cols = row_bytes / info.block_bytes * info.block_elements,
                     most = std::max<std::int64_t>(1, kCopiedBytes / (4 * cols));
  std::vector<float> values(std::size_t(std::min(most, to.bytes.rows()) * cols));
  std::vector<std::uint8_t> blocks(std::size_t(std::min(most, to.bytes.rows()) * row_bytes));
  for (std::int64_t row = 0; row < to.bytes.rows(); row += most) {
    const std::int64_t n = std::min(most, to.bytes.rows() - row);
    reader.read_box(group, w.name, w.row + row, w.col, Tensor(values.data(), {n, cols}));
    for (std::int64_t i = 0; i < n * cols; ++i)
      CHECK(std::isfinite(values[std::size_t(i)]), reader.path(), ": ", w.name,
            " holds numbers that are not finite, which no ", to.format, " can be");
    pool.for_ranges(n, 1, [&](std::int64_t begin, std::int64_t end) {
      quantise(to.format, values.data() + begin * cols, (end - begin) * cols,
               blocks.data() + begin * row_bytes);
    });
    ops.copy(to.bytes.row_range(row, n), Tensor(blocks.data(), {n, row_bytes}, DType::u8));
    ops.synchronize();  // before the blocks are overwritten
  }
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
      const std::optional<MatrixFormat> format = reader.format(from, w.name);
      const Matrix stored = reader.stored(from, w.name);
      const bool is_read = format && ops.reads(*format, dtype),
                 stays = is_read && stored.data && ops.place() == Place::host &&
                         part.shape[1] == stored.cols();
      storage.push_back({is_read ? *format : format_of(dtype)});
      in_file.push_back(stays ? stored.row_range(part.row, part.shape[0]) : Matrix());
      if (stays) reader.verify(from, w.name);
    }
    const bool apart = PackedMatrix::joined(in_file).parts.size() > 1;
    for (std::size_t i = 0; i < in_file.size(); ++i)
      if (!apart || !in_file[i].is_float() || layout.weights[pack.first].expert >= 0)
        storage[pack.first + i].mapped = in_file[i].data;
  }
  return storage;
}

void read_weights(const ModelReader& reader, const InferenceWeights& weights, Ops& ops) {
  std::optional<ThreadPool> pool;  // where matrices are rounded to blocks
  for (const InferenceWeights::Allocated& a : weights.allocated()) {
    const NamedWeight& w = a.weight;
    const std::string from = stored_group(reader, "model", w.name, w.whole);
    if (reader.format(from, w.name) == a.format) {
      reader.verify(from, w.name);
      copy_stored(reader, from, a, ops);
    } else if (!info_of(a.format).is_float) {
      if (!pool) pool.emplace();
      quantise_stored(reader, from, a, ops, *pool);
    } else {
      read_piece(reader, "model", w, {0, 0, w.tensor.reshaped({w.tensor.count()})}, ops);
    }
  }
  ops.synchronize();
}

}  // namespace lacuna
