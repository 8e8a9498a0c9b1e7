#include "formats/thrift_compact.h"

#include <limits>

#include "formats/damage.h"

namespace lacuna {
namespace {

constexpr int kDeepest = 32;

std::int64_t from_zigzag(std::uint64_t n) { return std::int64_t(n >> 1) ^ -std::int64_t(n & 1); }

}  // namespace

void ThriftReader::refuse() const {
  throw DamagedFile(str(file_, ": damaged: its metadata cannot be read, near their byte ", at_));
}

void ThriftReader::enter() {
  if (++depth_ > kDeepest) refuse();
}

std::uint8_t ThriftReader::byte() {
  if (at_ >= bytes_.size()) refuse();
  return static_cast<std::uint8_t>(bytes_[at_++]);
}

std::uint64_t ThriftReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint8_t b = byte();
    value |= std::uint64_t(b & 0x7f) << shift;
    if (b < 0x80) return value;
  }
  refuse();
}

bool ThriftReader::next(Field& field) {
  const std::uint8_t head = byte();
  field.type = Type(head & 0x0f);
  if (field.type == stop) return false;
  const std::int64_t id = head >> 4 ? std::int64_t(field.id) + (head >> 4) : from_zigzag(varint());
  if (id < std::numeric_limits<std::int16_t>::min() ||
      id > std::numeric_limits<std::int16_t>::max())
    refuse();
  field.id = std::int32_t(id);
  return true;
}

std::int64_t ThriftReader::list_size(Field field, Type type) {
  if (field.type != list) refuse();
  const std::uint8_t head = byte();
  const std::uint64_t n = head >> 4 == 15 ? varint() : head >> 4;
  // An element takes a byte or more.
  if (n > bytes_.size() - at_ || (n > 0 && (head & 0x0f) != type)) refuse();
  return std::int64_t(n);
}

std::int64_t ThriftReader::integer() { return from_zigzag(varint()); }

std::int64_t ThriftReader::integer(Field field) {
  if (field.type != i16 && field.type != i32 && field.type != i64) refuse();
  return integer();
}

std::int32_t ThriftReader::integer32(Field field) {
  const std::int64_t value = integer(field);
  if (value < std::numeric_limits<std::int32_t>::min() ||
      value > std::numeric_limits<std::int32_t>::max())
    refuse();
  return std::int32_t(value);
}

bool ThriftReader::boolean(Field field) const {
  if (field.type != yes && field.type != no) refuse();
  return field.type == yes;
}

std::string_view ThriftReader::text() {
  const std::uint64_t n = varint();
  if (n > bytes_.size() - at_) refuse();
  const std::string_view found = bytes_.substr(at_, n);
  at_ += n;
  return found;
}

std::string_view ThriftReader::text(Field field) {
  if (field.type != binary) refuse();
  return text();
}

void ThriftReader::skip(Field field) {
  if (field.type != yes && field.type != no) skip(field.type);  // those are their type
}

void ThriftReader::skip(Type type) {
  switch (type) {
    case yes:
    case no:
    case i8:
      byte();
      return;
    case i16:
    case i32:
    case i64:
      varint();
      return;
    case f64:
      for (int i = 0; i < 8; ++i) byte();
      return;
    case binary:
      text();
      return;
    case structure:
      fields([&](Field f) { skip(f); });
      return;
    case list:
    case set: {
      enter();
      const std::uint8_t head = byte();
      const std::uint64_t n = head >> 4 == 15 ? varint() : head >> 4;
      for (std::uint64_t i = 0; i < n; ++i) skip(Type(head & 0x0f));
      --depth_;
      return;
    }
    case map: {
      enter();
      const std::uint64_t n = varint();
      const std::uint8_t types = n > 0 ? byte() : 0;
      for (std::uint64_t i = 0; i < n; ++i) {
        skip(Type(types >> 4));
        skip(Type(types & 0x0f));
      }
      --depth_;
      return;
    }
    case stop:
      break;
  }
  refuse();
}

}  // namespace lacuna
