#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "formats/hdf5_object.h"

namespace lacuna::h5 {
namespace {

Datatype read_integer(Cursor& cursor, std::uint32_t bits, std::uint64_t bytes) {
  Datatype type;
  const std::uint64_t offset = cursor.u16(), precision = cursor.u16();
  if (offset != 0 || precision != 8 * bytes || bytes > 8 || !std::has_single_bit(bytes))
    return type;
  type.kind = Datatype::Kind::integer;
  type.big_endian = bits & 1;
  type.is_signed = bits & 8;
  if (type.big_endian && bytes > 1) return type;
  if (bytes == 1 && !type.is_signed) type.dtype = DType::u8;
  if (bytes == 2 && !type.is_signed) type.dtype = DType::u16;
  if (bytes == 4 && type.is_signed) type.dtype = DType::i32;
  if (bytes == 8 && type.is_signed) type.dtype = DType::i64;
  return type;
}

Datatype read_float(Cursor& cursor, std::uint32_t bits, std::uint64_t bytes) {
  struct Known {
    DType dtype;
    std::uint32_t exponent_bits, mantissa_bits, bias;
  };
  constexpr Known all[] = {{DType::f32, 8, 23, 127},
                           {DType::f64, 11, 52, 1023},
                           {DType::bf16, 8, 7, 127},
                           {DType::f16, 5, 10, 15}};
  Datatype type;
  const std::uint32_t sign = bits >> 8 & 255, norm = bits >> 4 & 3, order = bits & 0x41;
  const std::uint32_t offset = cursor.u16(), precision = cursor.u16(), exponent_at = cursor.u8(),
                      exponent_bits = cursor.u8(), mantissa_at = cursor.u8(),
                      mantissa_bits = cursor.u8(), bias = cursor.u32();
  for (const Known& k : all)
    if (bytes == std::uint64_t(size_of(k.dtype)) && precision == 8 * bytes && offset == 0 &&
        sign == precision - 1 && norm == 2 && order <= 1 && exponent_at == k.mantissa_bits &&
        exponent_bits == k.exponent_bits && mantissa_at == 0 && mantissa_bits == k.mantissa_bits &&
        bias == k.bias) {
      type.kind = Datatype::Kind::floating;
      type.big_endian = order == 1;
      type.dtype = k.dtype;  // also of numbers the other way round, which are no tensors
    }
  return type;
}

/// One value of `type`, turned into what it is on this machine.
std::optional<Attribute> value_of(GlobalHeaps& texts, const Datatype& type, Cursor& cursor) {
  using Kind = Datatype::Kind;
  switch (type.kind) {
    case Kind::variable_text: {
      const std::uint64_t bytes = cursor.u32(), collection = cursor.u64();
      const std::uint32_t index = cursor.u32();
      if (bytes == 0) return std::string();
      const View text = texts.object(collection, index);
      if (text.size() < bytes) cursor.damaged("has a text that is shorter than it says");
      const std::string value(text.begin(), text.begin() + std::ptrdiff_t(bytes));
      return value.substr(0, value.find('\0'));
    }
    case Kind::text: {
      const View text = cursor.take(type.bytes);
      return std::string(text.begin(), std::find(text.begin(), text.end(), 0));
    }
    case Kind::integer:
    case Kind::floating: {
      const View taken = cursor.take(type.bytes);
      Block bytes(taken.begin(), taken.end());
      if (type.big_endian) std::reverse(bytes.begin(), bytes.end());
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), bytes.size());
      if (type.kind == Kind::integer) {
        const std::uint64_t unused = 64 - 8 * type.bytes;
        if (type.is_signed) return std::int64_t(word << unused) >> unused;
        // As HDF5 converts what does not fit.
        constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
        return std::int64_t(std::min(word, most));
      }
      switch (*type.dtype) {
        case DType::f64:
          return std::bit_cast<double>(word);
        case DType::f32:
          return double(std::bit_cast<float>(std::uint32_t(word)));
        case DType::f16:
          return double(to_float(Float16{std::uint16_t(word)}));
        default:
          return double(to_float(BFloat16{std::uint16_t(word)}));
      }
    }
    case Kind::other:
      break;
  }
  return std::nullopt;
}

void read_attribute(FileBytes& file, GlobalHeaps& texts, View message, std::uint64_t address,
                    std::map<std::string, StoredAttribute>& all) {
  Cursor cursor(file, message, address, "the attribute");
  const int version = cursor.u8();
  if (version < 1 || version > 3) cursor.damaged("is of a version unknown here");
  const int flags = cursor.u8();
  const std::uint64_t name_bytes = cursor.u16(), type_bytes = cursor.u16(),
                      space_bytes = cursor.u16();
  if (version == 3) cursor.skip(1);
  const auto padded = [&](std::uint64_t bytes) {  // to a multiple of 8, in the oldest version
    const View part = cursor.take(bytes);
    if (version == 1) cursor.skip((8 - bytes % 8) % 8);
    return part;
  };
  const View name_part = padded(name_bytes);
  const std::string name(name_part.begin(), std::find(name_part.begin(), name_part.end(), 0));
  const std::uint64_t type_at = cursor.address();
  const View type_part = padded(type_bytes);
  const std::uint64_t space_at = cursor.address();
  const View space_part = padded(space_bytes);
  StoredAttribute attribute;
  attribute.problem = "is neither text nor a number";
  if (version == 1 || (flags & 3) == 0) {
    Cursor type_cursor(file, type_part, type_at, "the attribute's type");
    Cursor space_cursor(file, space_part, space_at, "the attribute's dataspace");
    const Datatype type = read_datatype(type_cursor);
    const Dataspace space = read_dataspace(space_cursor);
    const auto single = [](std::uint64_t n) { return n == 1; };
    if (space.null ||
        !std::all_of(space.extents.begin(), space.extents.begin() + space.rank, single))
      attribute.problem = "is not a single value";
    else
      attribute.value = value_of(texts, type, cursor);
  }
  if (!all.try_emplace(name, std::move(attribute)).second)
    cursor.damaged("has the name of another of the same object");
}

}  // namespace

Dataspace read_dataspace(Cursor& cursor) {
  Dataspace space;
  const int version = cursor.u8();
  if (version != 1 && version != 2) cursor.damaged("is of a version unknown here");
  space.rank = cursor.u8();
  if (space.rank > kMostExtents) cursor.damaged("has too many extents");
  const int flags = cursor.u8();
  if (version == 1)
    cursor.skip(5);
  else
    space.null = cursor.u8() == 2;
  for (int i = 0; i < space.rank; ++i) space.extents[std::size_t(i)] = cursor.u64();
  space.largest = space.extents;
  if (flags & 1)
    for (int i = 0; i < space.rank; ++i) space.largest[std::size_t(i)] = cursor.u64();
  return space;
}

Datatype read_datatype(Cursor& cursor) {
  const int kind = cursor.u8() & 15;
  const auto bits = std::uint32_t(cursor.uint(3));
  const std::uint64_t bytes = cursor.u32();
  Datatype type;
  switch (kind) {
    case 0:
      type = read_integer(cursor, bits, bytes);
      break;
    case 1:
      type = read_float(cursor, bits, bytes);
      break;
    case 3:
      type.kind = Datatype::Kind::text;
      break;
    case 9:
      if ((bits & 15) == 1) type.kind = Datatype::Kind::variable_text;
      break;
    default:
      break;
  }
  type.bytes = bytes;
  return type;
}

std::map<std::string, StoredAttribute> read_attributes(FileBytes& file, GlobalHeaps& texts,
                                                       const std::vector<Message>& header) {
  std::map<std::string, StoredAttribute> all;
  for (const Message& m : header) {
    if (m.type == kAttribute && !m.shared) read_attribute(file, texts, m.data, m.address, all);
    if (m.type != kAttributeInfo) continue;
    Cursor cursor(file, m.data, m.address, "the attributes' message");
    cursor.expect_version(0);
    if (cursor.u8() & 1) cursor.skip(2);
    const std::uint64_t heap_at = cursor.u64(), tree = cursor.u64();
    if (heap_at == kNowhere) continue;
    FractalHeap heap(file, heap_at);
    for_each_record(file, tree, 8, [&](Cursor& record) {
      const View id = record.take(heap.id_bytes());
      const std::uint64_t place = record.address();
      if (record.u8() & 2) return;  // shared with other objects, in another heap
      read_attribute(file, texts, heap.object(id), place, all);
    });
  }
  return all;
}

}  // namespace lacuna::h5
