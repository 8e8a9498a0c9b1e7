#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/hdf5.h"
#include "formats/mapped_file.h"

namespace lacuna {

/// The elements of a vector in a mapped HDF5 file, wherever its chunks lie. The file must outlive
/// it.
class MappedColumn {
 public:
  MappedColumn() = default;
  MappedColumn(const MappedFile& map, const h5::File& file, const std::string& dataset);
  /// A vector that lies in one piece.
  MappedColumn(const char* data, std::uint64_t bytes) : pieces_{{0, data, bytes}} {}

  /// Bytes [first, first + count) of the elements, which must be there.
  void copy(std::uint64_t first, std::uint64_t count, void* to) const;
  template <class T>
  T at(std::int64_t i) const {
    T value;
    copy(std::uint64_t(i) * sizeof(T), sizeof(T), &value);
    return value;
  }

 private:
  struct Piece {
    std::uint64_t first;
    const char* data;
    std::uint64_t bytes;
  };
  std::vector<Piece> pieces_;
};

/// Token ids in [first, first + out.size()) of a column of ids of `bytes` (2 or 4) bytes.
void copy_tokens(const MappedColumn& column, int bytes, std::int64_t first,
                 std::span<std::int32_t> out);

}  // namespace lacuna
