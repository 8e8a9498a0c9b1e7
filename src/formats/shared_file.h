#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/atomic_file.h"
#include "formats/checksum.h"
#include "formats/hdf5.h"
#include "formats/process_group.h"

namespace lacuna {

/// One HDF5 file written by many processes at once, each its parts of the datasets. It appears when
/// complete, and holds the same bytes in every dataset however many wrote it.
///
/// Member 0 lays out the file: every dataset gets its place, unfilled. The others learn these
/// places, and all write their elements there directly; nobody needs what others write, and nothing
/// is held back or exchanged. HDF5 itself is used by member 0 alone: that keeps its metadata out of
/// other processes' reach, makes a full disk an error like any other (hdf5_detail.h), and asks of
/// the file system no more than that neighbouring bytes may be written by different machines.
class SharedFile {
 public:
  struct Dataset {
    std::string name;
    Shape shape;
    DType dtype;
  };
  using Attributes = std::vector<std::pair<std::string, h5::Attribute>>;

  /// `attributes` of "/" count on member 0 alone; the datasets are the same on all. Collective,
  /// like commit().
  SharedFile(const std::filesystem::path& path, const Attributes& attributes,
             std::vector<Dataset> datasets, ProcessGroup& team);
  ~SharedFile();
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  /// Elements of dataset number `dataset`, seen as a matrix (a vector is one row): those of `box`
  /// [rows, cols], on the host and contiguous, from (row, col) on. Each element is written once, by
  /// whichever member.
  void write(std::size_t dataset, std::int64_t row, std::int64_t col, const Tensor& box);
  /// What this member wrote, to disk: nothing may be written after it. By this member alone, so
  /// that commit(), which else begins with it, does not wait for the disk.
  void flush();
  /// Flushed to disk by all, then renamed. Error, and no file, when elements were never written, or
  /// twice.
  void commit();

 private:
  void lay_out(const Attributes& attributes);
  void put(const Dataset& dataset, const void* data, std::int64_t bytes, std::int64_t at) const;

  ProcessGroup& team_;
  const std::filesystem::path path_;
  const std::vector<Dataset> datasets_;
  std::optional<AtomicFile> atomic_;    // member 0's
  std::optional<h5::FileWriter> file_;  // member 0's
  std::filesystem::path partial_;
  std::vector<std::int64_t> places_;  // of the datasets, in bytes from the file's beginning
  std::vector<PartialChecksum> sums_;
  int descriptor_ = -1;
};

}  // namespace lacuna
