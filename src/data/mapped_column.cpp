#include "data/mapped_column.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"

namespace lacuna {
namespace {

// Below this a read is one or two pages, which are brought in when they are touched.
constexpr std::uint64_t kPrefetchBytes = 8192;

}  // namespace

MappedColumn::MappedColumn(const MappedFile& map, const h5::File& file,
                           const std::string& dataset) {
  std::uint64_t first = 0;
  for (const h5::FilePiece& piece : file.pieces(dataset)) {
    CHECK(piece.address <= map.bytes() && piece.bytes <= map.bytes() - piece.address, map.name(),
          ": has changed while it was opened");
    pieces_.push_back({first, map.data() + piece.address, piece.bytes});
    first += piece.bytes;
  }
}

void MappedColumn::copy(std::uint64_t first, std::uint64_t count, void* to) const {
  if (count == 0) return;
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), first,
                                [](std::uint64_t at, const Piece& p) { return at < p.first; }) -
               1;
  auto* out = static_cast<char*>(to);
  for (; count > 0; ++piece) {
    const std::uint64_t skip = first - piece->first, n = std::min(count, piece->bytes - skip);
    if (n >= kPrefetchBytes) MappedFile::prefetch(piece->data + skip, n);
    std::memcpy(out, piece->data + skip, n);
    out += n;
    first += n;
    count -= n;
  }
}

void copy_tokens(const MappedColumn& column, int bytes, std::int64_t first,
                 std::span<std::int32_t> out) {
  const auto width = std::uint64_t(bytes);
  if (bytes == sizeof(std::int32_t))
    return column.copy(std::uint64_t(first) * width, out.size() * width, out.data());
  std::array<std::uint16_t, 4096> some;
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t n = std::min(some.size(), out.size() - done);
    column.copy((std::uint64_t(first) + done) * width, n * width, some.data());
    std::copy_n(some.begin(), n, out.begin() + std::ptrdiff_t(done));
    done += n;
  }
}

}  // namespace lacuna
