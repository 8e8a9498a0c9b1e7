#pragma once
// For the .cpp files behind formats/hdf5.h alone: HDF5's trees and heaps, checked as they are
// read. Sections are those of the HDF5 File Format Specification, version 3.0.
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "formats/hdf5_bytes.h"

namespace lacuna::h5 {

/// Calls `visit` with every record of a version 2 B-tree (III.A.2) of record type `type`.
void for_each_record(FileBytes& file, std::uint64_t tree, std::uint8_t type,
                     const std::function<void(Cursor&)>& visit);

/// Calls `visit` with every key and child of the lowest level of a version 1 B-tree (III.A.1) of
/// node type `type`, whose keys have `key_bytes` bytes.
void for_each_child(FileBytes& file, std::uint64_t tree, std::uint8_t type, std::uint64_t key_bytes,
                    const std::function<void(Cursor& key, std::uint64_t child)>& visit);

/// A fractal heap (III.G): where groups and attributes that are many or large keep them.
class FractalHeap {
 public:
  FractalHeap(FileBytes& file, std::uint64_t address);
  std::uint64_t id_bytes() const { return id_bytes_; }
  /// The object of a heap id.
  Block object(View id);

 private:
  struct Place {
    std::uint64_t address, bytes;
  };
  std::uint64_t row_bytes(std::uint64_t row) const;  // of each block in a row of the doubling table
  std::uint64_t rows_of(std::uint64_t bytes) const;  // of the indirect block that covers as many
  Block managed(std::uint64_t offset, std::uint64_t bytes);
  const Block& block(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset, bool direct);
  Place huge(std::uint64_t id);

  FileBytes& file_;
  std::uint64_t address_;
  std::uint64_t id_bytes_ = 0, offset_bytes_ = 0, length_bytes_ = 0;
  bool huge_directly_ = false, checksums_ = false;
  std::uint64_t huge_tree_ = kNowhere;
  std::uint64_t width_ = 0, first_bytes_ = 0, direct_bytes_ = 0, direct_rows_ = 0, space_ = 0;
  std::uint64_t root_ = kNowhere, root_rows_ = 0;
  std::map<std::uint64_t, Block> blocks_;  // by address
  std::optional<std::map<std::uint64_t, Place>> huge_;
};

/// The names of a group in the old format: a local heap (III.D).
class LocalHeap {
 public:
  LocalHeap(FileBytes& file, std::uint64_t address);
  std::string text(std::uint64_t offset);

 private:
  FileBytes& file_;
  std::uint64_t address_;
  Block data_;
};

/// Global heaps (III.E): texts of variable length.
class GlobalHeaps {
 public:
  explicit GlobalHeaps(FileBytes& file) : file_(file) {}
  View object(std::uint64_t collection, std::uint32_t index);

 private:
  FileBytes& file_;
  std::map<std::uint64_t, std::map<std::uint32_t, Block>> collections_;
};

}  // namespace lacuna::h5
