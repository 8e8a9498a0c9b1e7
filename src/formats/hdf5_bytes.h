#pragma once
// For the .cpp files behind formats/hdf5.h alone: the bytes of a file that nobody vouches for.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/damage.h"

namespace lacuna::h5 {

using Block = std::vector<std::uint8_t>;
using View = std::span<const std::uint8_t>;

/// HDF5's undefined address.
inline constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

/// Jenkins' lookup3 (hashlittle, initial value 0): the checksum of HDF5's metadata.
std::uint32_t metadata_checksum(View bytes);

/// A regular file, open for reading. Nothing outside [0, size()) is read or allocated for, and all
/// metadata together at most a few times the file's size: a structure that refers to itself, or
/// again and again to the same bytes, ends with an Error instead of without end.
class FileBytes {
 public:
  /// Error when it cannot be read or is no regular file (a FIFO is not waited for); DamagedFile
  /// when it is empty.
  explicit FileBytes(const std::filesystem::path& path);
  ~FileBytes();
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  const std::string& name() const { return name_; }
  std::uint64_t size() const { return size_; }
  /// What lies behind the end that the superblock names does not count.
  void end_at(std::uint64_t end);
  bool holds(std::uint64_t address, std::uint64_t bytes) const {
    return address <= size_ && bytes <= size_ - address;
  }

  /// Counts `bytes` of metadata more as read.
  void spend(std::uint64_t bytes);
  /// Metadata. `what` names them in errors.
  Block metadata(std::uint64_t address, std::uint64_t bytes, const char* what);
  /// The same whose last four bytes are the checksum of the others; without them.
  Block checksummed(std::uint64_t address, std::uint64_t bytes, const char* what);
  /// DamagedFile unless `stored` is the checksum of `bytes`.
  void compare(View bytes, std::uint32_t stored, std::uint64_t address, const char* what) const;
  /// Elements of a dataset.
  void read(void* to, std::uint64_t address, std::uint64_t bytes) const;

  [[noreturn]] void damaged(const std::string& what) const;

 private:
  std::string name_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0, allowance_ = 0;  // bytes of metadata that may still be read
};

/// Little-endian numbers and bytes, one after the other. DamagedFile when they end too early.
class Cursor {
 public:
  Cursor(const FileBytes& file, View bytes, std::uint64_t address, const char* what)
      : file_(file), bytes_(bytes), address_(address), what_(what) {}

  std::uint64_t uint(std::uint64_t bytes);  // at most 8
  std::uint8_t u8() { return std::uint8_t(uint(1)); }
  std::uint16_t u16() { return std::uint16_t(uint(2)); }
  std::uint32_t u32() { return std::uint32_t(uint(4)); }
  std::uint64_t u64() { return uint(8); }
  View take(std::uint64_t bytes);
  void skip(std::uint64_t bytes) { take(bytes); }
  /// DamagedFile unless these bytes come next.
  void expect(const char* signature);
  void expect_version(std::uint8_t version);
  std::uint64_t left() const { return bytes_.size() - at_; }
  /// Of the next byte, in the file.
  std::uint64_t address() const { return address_ + at_; }
  const char* what() const { return what_; }
  const FileBytes& file() const { return file_; }
  [[noreturn]] void damaged(const std::string& why) const;

 private:
  const FileBytes& file_;
  View bytes_;
  std::uint64_t address_, at_ = 0;
  const char* what_;
};

}  // namespace lacuna::h5
