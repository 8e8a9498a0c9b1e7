#pragma once
// For the .cpp files behind formats/hdf5.h alone: the objects of an HDF5 file, as parsed from
// bytes that nobody vouches for. Sections are those of the HDF5 File Format Specification, 3.0.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "formats/hdf5.h"
#include "formats/hdf5_bytes.h"
#include "formats/hdf5_index.h"

namespace lacuna::h5 {

/// Numbers of the messages that matter here (IV.A.2).
enum MessageType : std::uint16_t {
  kDataspace = 1,
  kLinkInfo = 2,
  kDatatype = 3,
  kLink = 6,
  kExternalFiles = 7,
  kLayout = 8,
  kFilters = 11,
  kAttribute = 12,
  kContinuation = 16,
  kSymbolTable = 17,
  kAttributeInfo = 21
};

struct Message {
  std::uint16_t type;
  bool shared;  // it is elsewhere, and this says where
  Block data;
  std::uint64_t address;  // of the data
};
/// An object's header (IV.A.1), of either version, with its continuations.
std::vector<Message> read_header(FileBytes& file, std::uint64_t address);

inline constexpr int kMostExtents = 32;
using Extents = std::array<std::uint64_t, kMostExtents>;
inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

struct Dataspace {
  bool null = false;
  int rank = 0;
  Extents extents{}, largest{};
};
Dataspace read_dataspace(Cursor& cursor);

struct Datatype {
  enum class Kind { integer, floating, text, variable_text, other } kind = Kind::other;
  std::uint64_t bytes = 0;
  bool big_endian = false, is_signed = false;
  std::optional<DType> dtype;  // as which tensors have it
};
Datatype read_datatype(Cursor& cursor);

/// An attribute, or why its value cannot be told.
struct StoredAttribute {
  std::optional<Attribute> value;
  std::string problem;
};
/// Those of an object, by name; in its header or in a heap.
std::map<std::string, StoredAttribute> read_attributes(FileBytes& file, GlobalHeaps& texts,
                                                       const std::vector<Message>& header);

struct Link {
  std::string name;
  std::optional<std::uint64_t> object;  // address of its header; none for links by name
};
/// Those of a group; none when the header is not a group's.
std::optional<std::vector<Link>> read_links(FileBytes& file, const std::vector<Message>& header);

/// Where the elements of a dataset lie in the file.
struct Storage {
  bool chunked = false;
  std::uint64_t address = kNowhere;      // row-major in one piece
  Extents chunk{}, grid{};               // extents of a chunk; how many of them there are
  std::vector<std::uint64_t> addresses;  // of the chunks, row-major in the grid
};
/// A dataset, or why its elements cannot be read.
struct StoredDataset {
  std::string problem;
  Shape shape;
  DType dtype = DType::f32;
  Storage storage;
};
/// None when the header is not a dataset's.
std::optional<StoredDataset> read_dataset(FileBytes& file, const std::vector<Message>& header);

/// The addresses of a dataset's chunks, into `storage`; `layout` continues behind the extents of
/// the chunks in a message of `version`. Returns why they cannot be read, or "".
std::string read_chunks(FileBytes& file, Cursor& layout, int version, int flags,
                        const Dataspace& space, std::uint64_t element_bytes, Storage& storage);

}  // namespace lacuna::h5
