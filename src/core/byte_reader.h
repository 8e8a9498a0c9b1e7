#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace lacuna {

/// Where a ByteReader gets its bytes from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `most` of the next bytes to `to`; how many: 0 at the end alone. Throws Error when they
  /// cannot be read.
  virtual std::size_t read(char* to, std::size_t most) = 0;
};

/// Bytes of a file, pipe or terminal from front to back, with a look ahead.
class ByteReader {
 public:
  ByteReader(std::unique_ptr<ByteSource> source, std::string name);
  /// Opens `path`, which check_data_source() must accept. Throws Error naming it.
  explicit ByteReader(const std::string& path);
  /// Reads an open descriptor, which stays open; `name` stands for it in messages.
  ByteReader(int descriptor, std::string name);

  /// The next bytes, without taking them: at least `bytes`, or all that are left. Valid until the
  /// next call. Throws Error when they cannot be read.
  std::string_view ahead(std::size_t bytes);
  /// Takes the next `bytes`, at most those that ahead() gave.
  std::string take(std::size_t bytes);
  void skip(std::size_t bytes);

  const std::string& name() const { return name_; }
  /// Bytes taken so far.
  std::int64_t position() const { return position_; }

 private:
  std::string name_;
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::int64_t position_ = 0;
  bool at_end_ = false;
};

}  // namespace lacuna
