#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/model_reader.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

/// The group that a weight of a group is read from: "master" is preferred over a rounded "model".
/// Error naming the tensor when it is missing or of another shape.
std::string stored_group(const ModelReader& reader, const std::string& group,
                         const std::string& name, const Shape& shape);
/// Fills a piece of one weight; see read_pieces().
void read_piece(const ModelReader& reader, const std::string& group, const NamedWeight& weight,
                const WeightPiece& piece, Ops& ops);
/// Fills pieces of `weights` (which may lie elsewhere: their moments) from a group of the
/// checkpoint ("model", "first_moment"…): floats from f32, bf16 or f16. Errors as
/// stored_group(). The checksum is compared where a piece is a whole tensor; of others,
/// ModelReader::verify() did that.
void read_pieces(const ModelReader& reader, const std::string& group, const ModelTensors& weights,
                 const std::vector<WeightPiece>& pieces, Ops& ops);

/// Calls visit(row, col, box) for boxes of the whole weight, seen as a matrix, that make up a piece
/// of it, at most `most` elements each.
void for_boxes(const NamedWeight& weight, const WeightPiece& piece, std::int64_t most,
               const std::function<void(std::int64_t row, std::int64_t col, Tensor box)>& visit);
/// The same with boxes on the host: what lies on a device is copied there, a box at a time.
void for_host_boxes(
    const NamedWeight& weight, const WeightPiece& piece, Ops& ops,
    const std::function<void(std::int64_t row, std::int64_t col, Tensor box)>& visit);

}  // namespace lacuna
