#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "formats/checksum.h"

/// HDF5 files, and nothing of HDF5's own interface. Every failure is an Error that names the file,
/// the dataset or attribute and the reason.
///
/// HDF5's library writes them. It does not read them: it trusts what a file says of itself (one
/// flipped bit makes 1.10 free what it never allocated, 447 bytes overflow its heap), so files are
/// read by a parser of this program's own, which takes the part of the format that holds plain
/// tensors, and checks all of it before a tensor is touched. What cannot be right is DamagedFile
/// (formats/damage.h). Links and storage that lead out of the file, filters, virtual datasets
/// and committed types are refused, object by object.
///
/// Element types as stored (little-endian): f32, f64, i32, i64, u8, u16 as HDF5's standard types;
/// f16 as the IEEE half; bf16 as a 16-bit float type with 8 exponent bits, which h5py, h5dump and
/// h5diff read as numbers (h5py as float32).
///
/// Damage is noticed by three means. HDF5's metadata carry checksums of their own (files are
/// written in the 1.10 format for that). Every dataset has an integer attribute `crc32c`: the
/// CRC-32C of its elements as stored, in row-major order, whatever the chunking. "/" has
/// `attributes_crc32c`, over its other attributes, which is checked on opening.
namespace lacuna::h5 {

/// Strings of any length but without NUL, stored with fixed length (h5py: `.decode()`).
using Attribute = std::variant<std::string, std::int64_t, double>;

struct StoredDataset;
struct StoredObject;
class Contents;

/// Bytes of a file.
struct FilePiece {
  std::uint64_t address, bytes;
};

/// A file to read. Its methods may be called from several threads.
class File {
 public:
  /// Parses all of the file but the elements of its datasets. DamagedFile when it is not HDF5,
  /// truncated, or its structure or attributes are damaged; Error when it cannot be read.
  static File open(const std::filesystem::path& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& name() const;

  // `object` is "/", a group or a dataset; without it, "/". An attribute that is missing or of
  // another type is an Error.
  Attribute attribute(const std::string& object, const std::string& attribute) const;
  std::string string_attribute(const std::string& object, const std::string& attribute) const;
  std::string string_attribute(const std::string& a) const { return string_attribute("/", a); }
  std::int64_t int_attribute(const std::string& object, const std::string& attribute) const;
  std::int64_t int_attribute(const std::string& a) const { return int_attribute("/", a); }
  bool has_attribute(const std::string& object, const std::string& attribute) const;
  bool has_attribute(const std::string& a) const { return has_attribute("/", a); }
  /// In alphabetical order.
  std::vector<std::string> attribute_names(const std::string& object = "/") const;

  bool exists(const std::string& path) const;
  bool is_dataset(const std::string& path) const;
  /// Bytes of the elements are at most those of the file. Error when the dataset is of another
  /// type, of more than 4 extents, or stored in a way that is not read here.
  Shape shape(const std::string& dataset) const;
  DType dtype(const std::string& dataset) const;
  /// Names within a group, in alphabetical order.
  std::vector<std::string> list(const std::string& group) const;

  // Tensors are contiguous and on the host. A rank-0 shape is a scalar.

  /// The whole dataset into `out`, of the same shape and dtype. Error when the checksum is missing,
  /// DamagedFile when it does not match.
  void read(const std::string& dataset, const Tensor& out) const;
  /// Rows [first_row, first_row + n) of the first extent; of a vector, elements. `out` has the
  /// dataset's other extents. A part cannot be checked: verify() the dataset once before.
  void read_rows(const std::string& dataset, std::int64_t first_row, const Tensor& out) const;
  /// A part of a dataset seen as a matrix (a vector is one row): as many rows and columns as `out`
  /// has, from (row, col) on. As above, it cannot be checked.
  void read_box(const std::string& dataset, std::int64_t row, std::int64_t col,
                const Tensor& out) const;
  /// Where the elements of a dataset lie in the file, in row-major order; pieces that follow each
  /// other are one. For readers that map the file.
  std::vector<FilePiece> pieces(const std::string& dataset) const;
  /// Reads the dataset in pieces and compares its checksum.
  void verify(const std::string& dataset) const;

 private:
  explicit File(std::unique_ptr<const Contents> contents);
  std::string at(const std::string& object) const;
  const StoredObject& object(const std::string& path) const;
  const StoredDataset& dataset(const std::string& path) const;
  const StoredDataset& dataset_for(const std::string& path, const Tensor& out) const;
  std::uint32_t stored_checksum(const std::string& dataset) const;

  std::unique_ptr<const Contents> contents_;
};

/// A new file. HDF5's library is not safe for threads: calls, on any FileWriter, from one thread at
/// a time.
class FileWriter {
 public:
  /// Replaces a file of that name.
  explicit FileWriter(const std::filesystem::path& path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;
  /// Closes without reporting an error; the file needs close() to be whole.
  ~FileWriter();

  /// Of "/". Setting replaces.
  void set_attribute(const std::string& attribute, const Attribute& v);

  // Tensors are contiguous and on the host. Parent groups appear as needed. A rank-0 shape is a
  // scalar.

  /// A whole dataset with its checksum.
  void write(const std::string& dataset, const Tensor& t);
  /// A dataset to be filled by write_rows, or, when growing (rank 1), by append.
  void create(const std::string& dataset, Shape shape, DType dtype, bool growing = false);
  /// Rows [first_row, first_row + n) of the first extent; of a vector, elements. `t` has the
  /// dataset's other extents. Each row is written once.
  void write_rows(const std::string& dataset, std::int64_t first_row, const Tensor& t);
  void append(const std::string& dataset, const Tensor& t);
  /// A dataset whose elements are written past HDF5: returns the byte of the file where they lie,
  /// row-major, one behind the other. seal() it with their CRC-32C.
  std::int64_t reserve(const std::string& dataset, Shape shape, DType dtype);
  void seal(const std::string& dataset, std::uint32_t crc);

  void flush();
  /// Writes the checksums of the datasets and of the attributes, flushes and closes. Error when
  /// rows were never written, or twice, or when any of it did not reach the file: then the file is
  /// not whole.
  void close();

 private:
  struct Pending {  // a dataset without a checksum yet
    Shape shape;
    DType dtype = DType::f32;
    bool growing = false;
    std::vector<ChecksumPart> parts;
  };
  std::string at(const std::string& object) const;
  Pending& pending(const std::string& dataset);
  void make_groups(const std::string& dataset);
  void set_attribute(const std::string& object, const std::string& attribute, const Attribute& v);
  void put(const std::string& dataset, std::int64_t first_row, const Tensor& t, bool grow);
  void seal(const std::string& dataset);

  std::int64_t id_ = -1;
  std::string name_;
  std::map<std::string, Pending> pending_;
  std::map<std::string, Attribute> attributes_;  // of "/"
};

}  // namespace lacuna::h5
