#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/hdf5_index.h"

namespace lacuna::h5 {
namespace {

constexpr std::uint64_t kSmallestAddress = 8;  // bytes of an address, and of a length

std::uint64_t log2(std::uint64_t power) { return std::uint64_t(std::bit_width(power)) - 1; }

}  // namespace

FractalHeap::FractalHeap(FileBytes& file, std::uint64_t address) : file_(file), address_(address) {
  constexpr const char* what = "the heap";
  const Block block = file.checksummed(address, 146, what);
  Cursor cursor(file, block, address, what);
  cursor.expect("FRHP");
  cursor.expect_version(0);
  id_bytes_ = cursor.u16();
  if (cursor.u16() != 0) cursor.damaged("is stored through filters, which are not read here");
  checksums_ = cursor.u8() & 2;
  const std::uint64_t most_managed = cursor.u32();
  cursor.skip(8);  // next id of a huge object
  huge_tree_ = cursor.u64();
  cursor.skip(10 * 8);  // statistics, and where free space is
  width_ = cursor.u16();
  first_bytes_ = cursor.u64();
  direct_bytes_ = cursor.u64();
  const std::uint64_t space_bits = cursor.u16();
  cursor.skip(2);
  root_ = cursor.u64();
  root_rows_ = cursor.u16();
  if (!std::has_single_bit(width_) || !std::has_single_bit(first_bytes_) ||
      !std::has_single_bit(direct_bytes_) || direct_bytes_ < first_bytes_ || space_bits > 62 ||
      log2(first_bytes_) + log2(width_) > space_bits || log2(direct_bytes_) > 32 || id_bytes_ < 2 ||
      most_managed == 0)
    cursor.damaged("has impossible sizes");
  space_ = std::uint64_t{1} << space_bits;
  direct_rows_ = log2(direct_bytes_) - log2(first_bytes_) + 2;
  if (root_rows_ > rows_of(space_)) cursor.damaged("has impossible sizes");
  offset_bytes_ = (space_bits + 7) / 8;
  length_bytes_ = std::min((log2(direct_bytes_) + 7) / 8, log2(most_managed) / 8 + 1);
  huge_directly_ = 2 * kSmallestAddress <= id_bytes_ - 1;
}

std::uint64_t FractalHeap::row_bytes(std::uint64_t row) const {
  return row < 2 ? first_bytes_ : first_bytes_ << (row - 1);
}

std::uint64_t FractalHeap::rows_of(std::uint64_t bytes) const {
  return log2(bytes) - log2(first_bytes_) - log2(width_) + 1;
}

Block FractalHeap::object(View id) {
  Cursor cursor(file_, id, address_, "an id in the heap");
  const int head = cursor.u8();
  if (head >> 6 != 0) cursor.damaged("is of a version unknown here");
  switch (head >> 4 & 3) {
    case 0: {
      const std::uint64_t offset = cursor.uint(offset_bytes_);
      return managed(offset, cursor.uint(length_bytes_));
    }
    case 1: {
      Place place{};
      if (huge_directly_) {
        place.address = cursor.u64();
        place.bytes = cursor.u64();
      } else {
        place = huge(cursor.uint(std::min<std::uint64_t>(8, id_bytes_ - 1)));
      }
      return file_.metadata(place.address, place.bytes, "a large object of the heap");
    }
    case 2: {
      if (id_bytes_ - 1 > 16) cursor.damaged("is of a kind unknown here");
      const View data = cursor.take(std::uint64_t(head & 15) + 1);
      return Block(data.begin(), data.end());
    }
    default:
      cursor.damaged("is of a kind unknown here");
  }
}

FractalHeap::Place FractalHeap::huge(std::uint64_t id) {
  if (!huge_) {
    huge_.emplace();
    for_each_record(file_, huge_tree_, 1, [&](Cursor& record) {
      const std::uint64_t address = record.u64(), bytes = record.u64();
      huge_->insert_or_assign(record.u64(), Place{address, bytes});
    });
  }
  const auto found = huge_->find(id);
  if (found == huge_->end())
    file_.damaged(str("the heap at byte ", address_, " has no object ", id));
  return found->second;
}

/// The table of blocks doubles from row to row; from direct_rows_ on its blocks are such tables.
Block FractalHeap::managed(std::uint64_t offset, std::uint64_t bytes) {
  const auto missing = [&] {
    file_.damaged(str("the heap at byte ", address_, " holds nothing at ", offset));
  };
  std::uint64_t address = root_, within = offset, start = 0, size = first_bytes_;
  for (std::uint64_t rows = root_rows_; rows > 0;) {
    const std::uint64_t head = 13 + offset_bytes_;
    const std::uint64_t entries = rows * width_;
    const Block& table = block(address, head + entries * 8 + 4, start, false);
    std::uint64_t row = 0;
    while (row < rows && within >= width_ * row_bytes(row)) within -= width_ * row_bytes(row++);
    if (row == rows) missing();
    size = row_bytes(row);
    const std::uint64_t column = within / size;
    within -= column * size;
    start = offset - within;
    std::memcpy(&address, table.data() + head + (row * width_ + column) * 8, 8);
    if (address == kNowhere) missing();
    if (row < direct_rows_) break;
    if (log2(size) < log2(first_bytes_) + log2(width_)) missing();
    rows = rows_of(size);
  }
  const std::uint64_t head = 13 + offset_bytes_ + (checksums_ ? 4 : 0);
  if (size > direct_bytes_ || within < head || within > size || bytes > size - within) missing();
  const Block& data = block(address, size, start, true);
  file_.spend(bytes);
  const auto begin = data.begin() + std::ptrdiff_t(within);
  return Block(begin, begin + std::ptrdiff_t(bytes));
}

const Block& FractalHeap::block(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset,
                                bool direct) {
  const char* what = direct ? "the heap block" : "the heap's table of blocks";
  const auto [place, is_new] = blocks_.try_emplace(address);
  Block& data = place->second;
  if (!is_new) {
    if (data.size() != bytes - (direct ? 0 : 4))
      file_.damaged(str(what, " at byte ", address, " is used as two of different sizes"));
    return data;
  }
  data = direct ? file_.metadata(address, bytes, what) : file_.checksummed(address, bytes, what);
  Cursor cursor(file_, data, address, what);
  cursor.expect(direct ? "FHDB" : "FHIB");
  cursor.expect_version(0);
  if (cursor.u64() != address_ || cursor.uint(offset_bytes_) != offset)
    cursor.damaged("belongs to another heap or place");
  if (direct && checksums_) {  // of the whole block, the checksum itself taken for 0
    const std::uint64_t at = cursor.address() - address;
    const std::uint32_t stored = cursor.u32();
    std::fill_n(data.begin() + std::ptrdiff_t(at), 4, std::uint8_t{0});
    file_.compare(data, stored, address, what);
  }
  return data;
}

LocalHeap::LocalHeap(FileBytes& file, std::uint64_t address) : file_(file), address_(address) {
  constexpr const char* what = "the heap of names";
  const Block block = file.metadata(address, 32, what);
  Cursor cursor(file, block, address, what);
  cursor.expect("HEAP");
  cursor.expect_version(0);
  cursor.skip(3);
  const std::uint64_t bytes = cursor.u64();
  cursor.skip(8);  // free space
  data_ = file.metadata(cursor.u64(), bytes, what);
}

std::string LocalHeap::text(std::uint64_t offset) {
  const auto begin = data_.begin() + std::ptrdiff_t(std::min<std::uint64_t>(offset, data_.size()));
  const auto end = std::find(begin, data_.end(), 0);
  if (end == data_.end())
    file_.damaged(str("the heap of names at byte ", address_, " has no name at ", offset));
  file_.spend(std::uint64_t(end - begin));
  return {begin, end};
}

View GlobalHeaps::object(std::uint64_t collection, std::uint32_t index) {
  const auto [place, is_new] = collections_.try_emplace(collection);
  constexpr const char* what = "the heap of texts";
  if (is_new) {
    const Block head = file_.metadata(collection, 16, what);
    Cursor start(file_, head, collection, what);
    start.expect("GCOL");
    start.expect_version(1);
    start.skip(3);
    const std::uint64_t bytes = start.u64();
    if (bytes < 16) start.damaged("is too short");
    const Block rest = file_.metadata(collection + 16, bytes - 16, what);
    Cursor cursor(file_, rest, collection + 16, what);
    while (cursor.left() >= 16) {
      const std::uint32_t number = cursor.u16();
      cursor.skip(6);
      const std::uint64_t size = cursor.u64();
      if (number == 0) break;  // free space up to the end
      const View data = cursor.take(size);
      place->second.try_emplace(number, data.begin(), data.end());
      cursor.skip(std::min((8 - size % 8) % 8, cursor.left()));
    }
  }
  const auto found = place->second.find(index);
  if (found == place->second.end())
    file_.damaged(str(what, " at byte ", collection, " has no text ", index));
  file_.spend(found->second.size());
  return found->second;
}

}  // namespace lacuna::h5
