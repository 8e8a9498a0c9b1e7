#pragma once
// For the .cpp files behind formats/hdf5.h alone.
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "formats/hdf5_object.h"

namespace lacuna::h5 {

struct StoredObject {
  // Why there is nothing to be read here: a link by name, a second name of an object.
  std::string problem;
  std::optional<std::vector<std::string>> names;  // of a group, in alphabetical order
  std::optional<StoredDataset> dataset;
  std::map<std::string, StoredAttribute> attributes;
};

/// A whole HDF5 file but for the elements of its datasets, all of it checked: every structure lies
/// in the file and matches its checksum, if it has one; every dataset's elements lie in the file,
/// and all datasets together are no larger than it; every object has one name.
class Contents {
 public:
  explicit Contents(const std::filesystem::path& path);

  const std::string& name() const { return file_.name(); }
  /// By path; null when there is nothing.
  const StoredObject* find(const std::string& path) const;
  /// Where a box of a dataset lies, from `start` on and as large as `count`: visits the pieces in
  /// row-major order, each of as many bytes at a place in the file.
  void for_each_piece(
      const StoredDataset& dataset, const Extents& start, const Extents& count,
      const std::function<void(std::uint64_t address, std::uint64_t bytes)>& visit) const;
  void read(void* to, std::uint64_t address, std::uint64_t bytes) const {
    file_.read(to, address, bytes);
  }

 private:
  std::uint64_t read_superblock();
  void walk(std::uint64_t address, const std::string& path, int depth);

  FileBytes file_;
  GlobalHeaps texts_;
  std::set<std::uint64_t> walked_;  // addresses of the objects' headers
  std::uint64_t element_bytes_ = 0;
  std::map<std::string, StoredObject> objects_;
};

}  // namespace lacuna::h5
