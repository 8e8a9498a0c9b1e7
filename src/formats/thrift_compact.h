#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lacuna {

/// Reads structures of Thrift's compact protocol
/// (github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), in which Parquet
/// keeps its metadata. DamagedFile, naming the file, for what ends too early or nests deeper than
/// any metadata do.
class ThriftReader {
 public:
  enum Type : std::uint8_t {
    stop = 0,
    yes = 1,
    no = 2,
    i8 = 3,
    i16 = 4,
    i32 = 5,
    i64 = 6,
    f64 = 7,
    binary = 8,
    list = 9,
    set = 10,
    map = 11,
    structure = 12
  };
  struct Field {
    std::int32_t id = 0;
    Type type = stop;
  };

  /// Borrows both.
  ThriftReader(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  /// Calls visit(field) for each field of the structure that begins here. It reads or skips the
  /// value.
  template <class Visitor>
  void fields(const Visitor& visit) {
    enter();
    for (Field f; next(f);) visit(f);
    --depth_;
  }
  /// Calls visit() for each element of a list, of type `type`.
  template <class Visitor>
  void elements(Field field, Type type, const Visitor& visit) {
    const std::int64_t n = list_size(field, type);
    for (std::int64_t i = 0; i < n; ++i) visit();
  }

  /// Values of a field or an element. Error when the field is of another type.
  std::int64_t integer(Field field);
  std::int32_t integer32(Field field);
  bool boolean(Field field) const;
  std::string_view text(Field field);
  std::int64_t integer();
  std::string_view text();
  void skip(Field field);

  /// Bytes read so far.
  std::size_t position() const { return at_; }

 private:
  bool next(Field& field);
  std::int64_t list_size(Field field, Type type);
  void skip(Type type);
  void enter();
  std::uint8_t byte();
  std::uint64_t varint();
  [[noreturn]] void refuse() const;

  std::string_view bytes_;
  const std::string& file_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace lacuna
