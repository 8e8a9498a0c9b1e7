#include <algorithm>
#include <bit>

#include "formats/hdf5_object.h"

namespace lacuna::h5 {
namespace {

/// Which of the blocks of an array are initialised: bit 7 of the first byte is the first's.
bool bit(View mask, std::uint64_t i) { return mask[i / 8] >> (7 - i % 8) & 1; }

/// An array of chunk addresses in a file; only the first `wanted` are read.
class Elements {
 public:
  Elements(FileBytes& file, std::uint64_t wanted) : file_(file), all_(wanted, kNowhere) {}
  std::vector<std::uint64_t> take() { return std::move(all_); }

  void fixed(std::uint64_t address);
  void extensible(std::uint64_t address);

 private:
  static constexpr std::uint64_t kWidth = 8;
  std::uint64_t count() const { return all_.size(); }
  /// The next addresses in `cursor`, as elements [first, first + n).
  void put(Cursor& cursor, std::uint64_t first, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t address = cursor.u64();
      if (first + i < count()) all_[first + i] = address;
    }
  }
  void pages(std::uint64_t at, std::uint64_t first, std::uint64_t n, std::uint64_t in_page,
             View initialised);
  void check_element(Cursor& cursor) const {
    if (cursor.u8() != 0) cursor.damaged("is of chunks stored through filters");
    if (cursor.u8() != kWidth) cursor.damaged("has elements of a size unknown here");
  }
  void data_block(std::uint64_t address, std::uint64_t array, std::uint64_t offset_bytes,
                  std::uint64_t first, std::uint64_t n, std::uint64_t in_page, View initialised);

  FileBytes& file_;
  std::vector<std::uint64_t> all_;
};

void Elements::pages(std::uint64_t at, std::uint64_t first, std::uint64_t n, std::uint64_t in_page,
                     View initialised) {
  constexpr const char* what = "a page of the chunks' index";
  for (std::uint64_t page = 0; page * in_page < n && first + page * in_page < count(); ++page) {
    const std::uint64_t elements = std::min(in_page, n - page * in_page);
    if (bit(initialised, page)) {
      const Block block = file_.checksummed(at, elements * kWidth + 4, what);
      Cursor cursor(file_, block, at, what);
      put(cursor, first + page * in_page, elements);
    }
    at += elements * kWidth + 4;
  }
}

/// A fixed array (VII.C).
void Elements::fixed(std::uint64_t address) {
  constexpr const char* what = "the chunks' index";
  const Block head = file_.checksummed(address, 28, what);
  Cursor cursor(file_, head, address, what);
  cursor.expect("FAHD");
  cursor.expect_version(0);
  check_element(cursor);
  const std::uint64_t page_bits = cursor.u8(), n = cursor.u64(), block_at = cursor.u64();
  if (page_bits > 32 || n < count() || n > file_.size()) cursor.damaged("has impossible sizes");
  if (block_at == kNowhere) return;
  const std::uint64_t in_page = std::uint64_t{1} << page_bits;
  const bool paged = n > in_page;
  const std::uint64_t mask_bytes = paged ? ((n + in_page - 1) / in_page + 7) / 8 : 0,
                      bytes = 14 + mask_bytes + (paged ? 0 : n * kWidth) + 4;
  const Block block = file_.checksummed(block_at, bytes, what);
  Cursor data(file_, block, block_at, what);
  data.expect("FADB");
  data.expect_version(0);
  data.skip(1);
  if (data.u64() != address) data.damaged("belongs to another array");
  const View mask = data.take(mask_bytes);
  if (paged)
    pages(block_at + bytes, 0, n, in_page, mask);
  else
    put(data, 0, n);
}

void Elements::data_block(std::uint64_t address, std::uint64_t array, std::uint64_t offset_bytes,
                          std::uint64_t first, std::uint64_t n, std::uint64_t in_page,
                          View initialised) {
  if (address == kNowhere || first >= count()) return;
  constexpr const char* what = "a block of the chunks' index";
  const bool paged = n > in_page;
  if (!paged && n > file_.size()) file_.damaged(str(what, " has impossible sizes"));
  const std::uint64_t bytes = 14 + offset_bytes + (paged ? 0 : n * kWidth) + 4;
  const Block block = file_.checksummed(address, bytes, what);
  Cursor cursor(file_, block, address, what);
  cursor.expect("EADB");
  cursor.expect_version(0);
  cursor.skip(1);
  if (cursor.u64() != array) cursor.damaged("belongs to another array");
  cursor.skip(offset_bytes);
  if (paged)
    pages(address + bytes, first, n, in_page, initialised);
  else
    put(cursor, first, n);
}

/// An extensible array (VII.D): elements in the index block, then blocks of them that double in
/// number and in size by turns; the later ones are listed in super blocks.
void Elements::extensible(std::uint64_t address) {
  constexpr const char* what = "the chunks' index";
  const Block head = file_.checksummed(address, 72, what);
  Cursor cursor(file_, head, address, what);
  cursor.expect("EAHD");
  cursor.expect_version(0);
  check_element(cursor);
  const std::uint64_t bits = cursor.u8(), in_index = cursor.u8(), least = cursor.u8(),
                      pointers = cursor.u8(), page_bits = cursor.u8();
  cursor.skip(6 * 8);  // statistics
  const std::uint64_t index_at = cursor.u64();
  if (bits > 62 || page_bits > 32 || !std::has_single_bit(least) ||
      !std::has_single_bit(pointers) || pointers < 2 ||
      std::uint64_t(std::bit_width(least)) > bits + 1)
    cursor.damaged("has impossible sizes");
  if (index_at == kNowhere) return;
  const auto log2 = [](std::uint64_t power) { return std::uint64_t(std::bit_width(power)) - 1; };
  const std::uint64_t supers = 1 + bits - log2(least), listed = 2 * log2(pointers);
  if (listed > supers) cursor.damaged("has impossible sizes");
  const std::uint64_t direct = 2 * (pointers - 1), offset_bytes = (bits + 7) / 8,
                      in_page = std::uint64_t{1} << page_bits;

  const Block block =
      file_.checksummed(index_at, 14 + (in_index + direct + supers - listed) * kWidth + 4, what);
  Cursor index(file_, block, index_at, what);
  index.expect("EAIB");
  index.expect_version(0);
  index.skip(1);
  if (index.u64() != address) index.damaged("belongs to another array");
  put(index, 0, in_index);
  std::uint64_t first = in_index;
  for (std::uint64_t super = 0; super < supers && first < count(); ++super) {
    const std::uint64_t blocks = std::uint64_t{1} << super / 2;
    const std::uint64_t elements = (std::uint64_t{1} << (super + 1) / 2) * least;
    if (super < listed) {
      if (elements > in_page) index.damaged("has impossible sizes");
      for (std::uint64_t i = 0; i < blocks; ++i, first += elements)
        data_block(index.u64(), address, offset_bytes, first, elements, in_page, {});
      continue;
    }
    const std::uint64_t at = index.u64();
    if (at == kNowhere) {
      first += blocks * elements;
      continue;
    }
    const std::uint64_t mask_bytes = elements > in_page ? (elements / in_page + 7) / 8 : 0;
    if (mask_bytes + kWidth > file_.size() / blocks) index.damaged("has impossible sizes");
    const Block list = file_.checksummed(at, 14 + offset_bytes + blocks * (mask_bytes + kWidth) + 4,
                                         "a list of the chunks' index");
    Cursor entries(file_, list, at, "a list of the chunks' index");
    entries.expect("EASB");
    entries.expect_version(0);
    entries.skip(1);
    if (entries.u64() != address) entries.damaged("belongs to another array");
    entries.skip(offset_bytes);
    const View masks = entries.take(blocks * mask_bytes);
    for (std::uint64_t i = 0; i < blocks && first < count(); ++i, first += elements)
      data_block(entries.u64(), address, offset_bytes, first, elements, in_page,
                 masks.subspan(i * mask_bytes, mask_bytes));
  }
}

struct Grid {
  int rank;
  Extents chunk, count;  // extents of a chunk, numbers of chunks
  std::uint64_t chunks = 1;

  /// Number, row-major, of the chunk at element `start` times `unit`.
  std::uint64_t number(Cursor& record, bool scaled) const {
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < std::size_t(rank); ++i) {
      const std::uint64_t start = record.u64(), at = scaled ? start : start / chunk[i];
      if (at >= count[i] || (!scaled && start % chunk[i] != 0))
        record.damaged("is of a chunk outside its dataset");
      n = n * count[i] + at;
    }
    return n;
  }
};

}  // namespace

std::string read_chunks(FileBytes& file, Cursor& layout, int version, int flags,
                        const Dataspace& space, std::uint64_t element_bytes, Storage& storage) {
  Grid grid{space.rank, storage.chunk, {}, 1};
  std::uint64_t bytes = element_bytes;
  bool empty = false, too_many = false;
  for (std::size_t i = 0; i < std::size_t(space.rank); ++i) {
    if (grid.chunk[i] == 0) layout.damaged("has chunks of no elements");
    grid.count[i] = space.extents[i] / grid.chunk[i] + (space.extents[i] % grid.chunk[i] != 0);
    empty |= space.extents[i] == 0;
    too_many |= __builtin_mul_overflow(bytes, grid.chunk[i], &bytes) ||
                __builtin_mul_overflow(grid.chunks, grid.count[i], &grid.chunks);
  }
  storage.chunked = true;
  storage.grid = grid.count;
  enum Index { kTree1 = 0, kSingle = 1, kImplicit = 2, kFixed = 3, kExtensible = 4, kTree2 = 5 };
  const int index = version == 3 ? int{kTree1} : int{layout.u8()};
  // What says how the index is laid out, of which it tells itself.
  constexpr std::array<std::uint64_t, 6> parameters = {0, 0, 0, 1, 5, 6};
  if (index > kTree2) return "is stored in chunks with an index unknown here";
  layout.skip(parameters[std::size_t(index)]);
  if (empty) return "";
  // Each has a place of its own, and all but a single one an entry in the index.
  std::uint64_t whole = 0;
  if (too_many || __builtin_add_overflow(bytes, grid.chunks > 1 ? 8 : 0, &whole) ||
      __builtin_mul_overflow(whole, grid.chunks, &whole) || whole > file.size())
    layout.damaged("has more chunks than the file has bytes");

  const std::uint64_t address = version == 3 ? storage.address : layout.u64();
  if (address == kNowhere) return "was never written";
  std::vector<std::uint64_t>& all = storage.addresses;
  if (index == kSingle) {
    if (flags & 2) return "is stored through filters, which are not read here";
    if (grid.chunks != 1) layout.damaged("has a single chunk that does not hold it");
    all = {address};
  } else if (index == kTree1) {
    all.assign(grid.chunks, kNowhere);
    const auto rank = std::uint64_t(space.rank);
    for_each_child(file, address, 1, 8 + 8 * (rank + 1), [&](Cursor& key, std::uint64_t chunk) {
      key.skip(8);  // bytes, and filters left out
      all[grid.number(key, false)] = chunk;
    });
  } else if (index == kTree2) {
    all.assign(grid.chunks, kNowhere);
    for_each_record(file, address, 10, [&](Cursor& record) {
      const std::uint64_t chunk = record.u64();
      all[grid.number(record, true)] = chunk;
    });
  } else if (index == kFixed || index == kExtensible) {
    // Numbered in the grid of the largest extents: here read only where that is the same.
    for (std::size_t i = index == kFixed ? 0 : 1; i < std::size_t(space.rank); ++i)
      if (space.largest[i] != space.extents[i]) return "may grow in a way that is not read here";
    Elements elements(file, grid.chunks);
    if (index == kFixed)
      elements.fixed(address);
    else
      elements.extensible(address);
    all = elements.take();
  } else {
    return "is stored in chunks with an index unknown here";
  }
  for (const std::uint64_t chunk : all) {
    if (chunk == kNowhere) return "was never written in full";
    if (!file.holds(chunk, bytes)) layout.damaged("has a chunk that does not lie in the file");
  }
  return "";
}

}  // namespace lacuna::h5
