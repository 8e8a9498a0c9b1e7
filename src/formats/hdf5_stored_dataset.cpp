#include <algorithm>

#include "formats/hdf5_object.h"

namespace lacuna::h5 {
namespace {

constexpr int kMostRank = 4;  // Shape's

const Message* find(const std::vector<Message>& header, MessageType type) {
  const auto found =
      std::find_if(header.begin(), header.end(), [&](const Message& m) { return m.type == type; });
  return found == header.end() ? nullptr : &*found;
}

/// Why elements are not where this program looks for them, or "".
std::string elsewhere(FileBytes& file, const std::vector<Message>& header) {
  for (const MessageType type : {kDataspace, kDatatype, kLayout, kFilters, kExternalFiles})
    if (const Message* m = find(header, type); m && m->shared)
      return "is described by another object, which is not read here";
  if (find(header, kExternalFiles)) return "lies in other files, which are not read here";
  if (const Message* m = find(header, kFilters)) {
    Cursor cursor(file, m->data, m->address, "the filters' message");
    cursor.skip(1);
    if (cursor.u8() > 0) return "is stored through filters, which are not read here";
  }
  return "";
}

std::string read_layout(FileBytes& file, const Message& message, const Dataspace& space,
                        std::uint64_t bytes, std::uint64_t element_bytes, Storage& storage) {
  enum Class { kCompact = 0, kContiguous = 1, kChunked = 2 };
  Cursor cursor(file, message.data, message.address, "the dataset's layout");
  const int version = cursor.u8();
  if (version != 3 && version != 4) return "is stored in a layout unknown here";
  const int kind = cursor.u8();
  std::uint64_t stored = 0;
  switch (kind) {
    case kCompact:
      stored = cursor.u16();
      storage.address = cursor.address();
      if (stored > cursor.left()) cursor.damaged("ends before its elements do");
      break;
    case kContiguous:
      storage.address = cursor.u64();
      stored = cursor.u64();
      if (bytes > 0 && storage.address == kNowhere) return "was never written";
      break;
    case kChunked: {
      const int flags = version == 4 ? cursor.u8() : 0;
      if (cursor.u8() != space.rank + 1) cursor.damaged("has chunks of another rank");
      if (version == 3) storage.address = cursor.u64();
      const std::uint64_t width = version == 4 ? cursor.u8() : 4;
      if (width == 0 || width > 8) cursor.damaged("has extents of an impossible width");
      for (std::size_t i = 0; i < std::size_t(space.rank); ++i)
        storage.chunk[i] = cursor.uint(width);
      if (cursor.uint(width) != element_bytes) cursor.damaged("has elements of another size");
      return read_chunks(file, cursor, version, flags, space, element_bytes, storage);
    }
    default:
      return "lies in other datasets or files, which are not read here";
  }
  if (bytes > 0 && (stored < bytes || !file.holds(storage.address, bytes)))
    cursor.damaged(str("declares ", bytes, " bytes at byte ", storage.address, ", of ", stored,
                       " stored, in a file of ", file.size()));
  return "";
}

}  // namespace

std::optional<StoredDataset> read_dataset(FileBytes& file, const std::vector<Message>& header) {
  const Message *space_message = find(header, kDataspace), *type_message = find(header, kDatatype),
                *layout = find(header, kLayout);
  if (!space_message || !type_message || !layout) return std::nullopt;
  StoredDataset dataset;
  dataset.problem = elsewhere(file, header);
  if (!dataset.problem.empty()) return dataset;
  Cursor space_cursor(file, space_message->data, space_message->address, "the dataset's dataspace");
  Cursor type_cursor(file, type_message->data, type_message->address, "the dataset's type");
  const Dataspace space = read_dataspace(space_cursor);
  const Datatype type = read_datatype(type_cursor);
  if (space.null) {
    dataset.problem = "has no extents";
  } else if (space.rank > kMostRank) {
    dataset.problem = str("has ", space.rank, " extents; at most ", kMostRank, " are known here");
  } else if (!type.dtype || (type.big_endian && type.bytes > 1)) {
    dataset.problem = "has an element type other than f32, f64, bf16, f16, i32, i64, u8, u16";
  }
  if (!dataset.problem.empty()) return dataset;
  dataset.dtype = *type.dtype;
  std::uint64_t bytes = type.bytes;
  bool empty = false, too_large = false;
  for (std::size_t i = 0; i < std::size_t(space.rank); ++i) {
    empty |= space.extents[i] == 0;
    // With an extent of 0 too, products of the others must fit: they count rows and columns.
    too_large |= space.extents[i] >> 62 != 0 ||
                 (space.extents[i] > 0 && __builtin_mul_overflow(bytes, space.extents[i], &bytes));
    dataset.shape.extent[i] = std::int64_t(space.extents[i]);
  }
  dataset.shape.rank = space.rank;
  if (too_large || bytes >> 62 != 0 || (!empty && bytes > file.size()))
    space_cursor.damaged(
        str("declares more elements than a file of ", file.size(), " bytes holds"));
  dataset.problem =
      read_layout(file, *layout, space, empty ? 0 : bytes, type.bytes, dataset.storage);
  return dataset;
}

}  // namespace lacuna::h5
