#include "model_io/tensor_io.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::int64_t kStaged = std::int64_t{1} << 22;  // elements copied at a time

}  // namespace

void for_boxes(const NamedWeight& weight, const WeightPiece& piece, std::int64_t most,
               const std::function<void(std::int64_t, std::int64_t, Tensor)>& visit) {
  const std::int64_t cols = weight.tensor.cols(), n = piece.values.count();
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t row = (piece.first + done) / cols, col = (piece.first + done) % cols;
    // The rest of a row, whole rows, the beginning of one.
    std::int64_t count = std::min({cols - col, n - done, most});
    if (col == 0 && n - done >= cols && most >= cols)
      count = std::min(n - done, most) / cols * cols;
    const std::int64_t width = std::min(count, cols);
    visit(weight.row + row, weight.col + col,
          piece.values.row_range(done, count).reshaped({count / width, width}));
    done += count;
  }
}

void for_host_boxes(const NamedWeight& weight, const WeightPiece& piece, Ops& ops,
                    const std::function<void(std::int64_t, std::int64_t, Tensor)>& visit) {
  if (piece.values.place == Place::host)
    return for_boxes(weight, piece, piece.values.count(), visit);
  std::vector<std::byte> staging;
  for_boxes(weight, piece, kStaged, [&](std::int64_t row, std::int64_t col, Tensor box) {
    staging.resize(std::size_t(box.bytes()));
    const Tensor host(staging.data(), box.shape, box.dtype);
    ops.copy(host, box);
    ops.synchronize();
    visit(row, col, host);
  });
}

std::string stored_group(const ModelReader& reader, const std::string& group,
                         const std::string& name, const Shape& shape) {
  const bool master = group == "model" && reader.has("master", name);
  const std::string from = master ? "master" : group;
  CHECK(reader.has(from, name), reader.path(), ": has no tensor ", name, " in group ", from);
  CHECK(reader.shape(from, name) == shape, reader.path(), ": ", name, " in group ", from,
        " has shape ", reader.shape(from, name), "; the model needs ", shape);
  return from;
}

void read_piece(const ModelReader& reader, const std::string& group, const NamedWeight& w,
                const WeightPiece& piece, Ops& ops) {
  const std::string from = stored_group(reader, group, w.name, w.whole);
  const bool in_place = piece.values.place == Place::host && piece.values.dtype == DType::f32,
             whole = piece.values.count() == w.whole.count();
  if (in_place && whole) return reader.read(from, w.name, piece.values.reshaped(w.whole));
  if (whole) reader.verify(from, w.name);
  const std::int64_t most = in_place ? piece.values.count() : kStaged;
  std::vector<float> staging;
  for_boxes(w, piece, most, [&](std::int64_t row, std::int64_t col, Tensor box) {
    if (in_place) return reader.read_box(from, w.name, row, col, box);
    staging.resize(std::size_t(box.count()));
    const Tensor host(staging.data(), box.shape);
    reader.read_box(from, w.name, row, col, host);
    ops.copy(box, host);
    ops.synchronize();  // the staging buffer is written again
  });
}

void read_pieces(const ModelReader& reader, const std::string& group, const ModelTensors& weights,
                 const std::vector<WeightPiece>& pieces, Ops& ops) {
  for (const WeightPiece& piece : pieces)
    read_piece(reader, group, weights.named()[piece.weight], piece, ops);
}

}  // namespace lacuna
