#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "checkpoint/checksum.h"
#include "core/tensor.h"

/// HDF5 files, and nothing of HDF5's own interface. Every failure is an Error that names the file,
/// the dataset or attribute and HDF5's reason; HDF5 itself prints nothing. The library is not safe
/// for threads: calls, on any File, from one thread at a time.
///
/// Element types as stored (little-endian): f32, f64, i32, i64, u8 as HDF5's standard types; f16 as
/// the IEEE half; bf16 as a 16-bit float type with 8 exponent bits, which h5py, h5dump and h5diff
/// read as numbers (h5py as float32).
///
/// Damage is noticed by three means. HDF5's metadata carry checksums of their own (files are
/// written in the 1.10 format for that). Every dataset has an integer attribute `crc32c`: the
/// CRC-32C of its elements as stored, in row-major order, whatever the chunking. "/" has
/// `attributes_crc32c`, over its other attributes, which is checked on opening.
namespace lacuna::h5 {

/// Strings of any length but without NUL, stored with fixed length (h5py: `.decode()`).
using Attribute = std::variant<std::string, std::int64_t, double>;

class File {
 public:
  /// A new file, replacing one of that name.
  static File create(const std::filesystem::path& path);
  /// For reading only. Error when it is missing, not HDF5, truncated, or its attributes are
  /// damaged.
  static File open(const std::filesystem::path& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  /// Closes without a word; a file that was written needs close() to be whole.
  ~File();

  const std::string& name() const { return name_; }

  // `object` is "/", a group or a dataset; without it, "/". Setting replaces. An attribute that is
  // missing or of another type is an Error.
  void set_attribute(const std::string& object, const std::string& attribute, const Attribute& v);
  void set_attribute(const std::string& attribute, const Attribute& v) {
    set_attribute("/", attribute, v);
  }
  Attribute attribute(const std::string& object, const std::string& attribute) const;
  std::string string_attribute(const std::string& object, const std::string& attribute) const;
  std::string string_attribute(const std::string& a) const { return string_attribute("/", a); }
  std::int64_t int_attribute(const std::string& object, const std::string& attribute) const;
  std::int64_t int_attribute(const std::string& a) const { return int_attribute("/", a); }
  double double_attribute(const std::string& object, const std::string& attribute) const;
  bool has_attribute(const std::string& object, const std::string& attribute) const;
  bool has_attribute(const std::string& a) const { return has_attribute("/", a); }
  /// In alphabetical order.
  std::vector<std::string> attribute_names(const std::string& object = "/") const;

  // Tensors are contiguous and on the host. Parent groups appear as needed. A rank-0 shape is a
  // scalar.

  /// A whole dataset with its checksum.
  void write(const std::string& dataset, const Tensor& t);
  /// A dataset to be filled by write_rows, or, when growing (rank 1), by append.
  void create(const std::string& dataset, Shape shape, DType dtype, bool growing = false);
  /// Rows [first_row, first_row + n) of the first extent; of a vector, elements. `t` has the
  /// dataset's other extents.
  void write_rows(const std::string& dataset, std::int64_t first_row, const Tensor& t);
  void append(const std::string& dataset, const Tensor& t);
  /// A dataset whose elements are written past HDF5: returns the byte of the file where they lie,
  /// row-major, one behind the other. seal() it with their CRC-32C.
  std::int64_t reserve(const std::string& dataset, Shape shape, DType dtype);
  void seal(const std::string& dataset, std::uint32_t crc);
  /// Writes the checksum of a dataset filled by append or write_rows, in whatever order and cut.
  /// Error when rows were never written.
  void seal(const std::string& dataset);
  /// Seals all that need it; close() does so too.
  void seal();

  /// The whole dataset into `out`, of the same shape and dtype. Error when the checksum is missing
  /// or does not match.
  void read(const std::string& dataset, const Tensor& out) const;
  /// Rows as in write_rows. A part cannot be checked: verify() the dataset once before.
  void read_rows(const std::string& dataset, std::int64_t first_row, const Tensor& out) const;
  /// A part of a dataset seen as a matrix (a vector is one row): as many rows and columns as `out`
  /// has, from (row, col) on. As above, it cannot be checked.
  void read_box(const std::string& dataset, std::int64_t row, std::int64_t col,
                const Tensor& out) const;
  /// Reads the dataset in pieces and compares its checksum.
  void verify(const std::string& dataset) const;

  bool exists(const std::string& path) const;
  bool is_dataset(const std::string& path) const;
  Shape shape(const std::string& dataset) const;
  DType dtype(const std::string& dataset) const;
  /// Names within a group, in alphabetical order.
  std::vector<std::string> list(const std::string& group) const;

  void flush();
  /// Seals, writes attributes_crc32c, flushes and closes. Error when any of it did not reach the
  /// file: then the file is not whole.
  void close();

 private:
  struct Pending {  // a dataset without a checksum yet
    std::int64_t row_bytes = 0;
    std::vector<ChecksumPart> parts;
  };
  File(std::int64_t id, std::string name, bool writing);
  std::string at(const std::string& object) const;
  std::uint32_t attributes_checksum() const;
  std::uint32_t stored_checksum(const std::string& dataset) const;
  void transfer(const std::string& dataset, std::int64_t first_row, const Tensor& t, bool write,
                bool grow) const;
  void write_part(const std::string& dataset, std::int64_t first_row, const Tensor& t, bool grow);
  std::uint32_t checksum_of_content(const std::string& dataset) const;

  std::int64_t id_ = -1;
  std::string name_;
  bool writing_ = false;
  std::map<std::string, Pending> pending_;
};

}  // namespace lacuna::h5
