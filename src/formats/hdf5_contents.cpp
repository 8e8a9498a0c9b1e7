#include "formats/hdf5_contents.h"

#include <algorithm>
#include <cstring>

namespace lacuna::h5 {
namespace {

constexpr int kDeepest = 100;
constexpr std::size_t kLongestPath = 4096;
constexpr std::uint8_t kSignature[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

}  // namespace

Contents::Contents(const std::filesystem::path& path) : file_(path), texts_(file_) {
  walk(read_superblock(), "/", 0);
  if (!objects_.at("/").names) file_.damaged("its first object is no group");
}

/// The superblock (II.A), of version 0 to 3; returns where the header of "/" is.
std::uint64_t Contents::read_superblock() {
  constexpr const char* what = "the superblock";
  constexpr std::uint64_t signature = sizeof kSignature;
  CHECK_INTACT(file_.holds(0, signature), file_.name(), ": is not an HDF5 file");
  const Block head = file_.metadata(0, signature, what);
  CHECK_INTACT(std::memcmp(head.data(), kSignature, signature) == 0, file_.name(),
               ": is not an HDF5 file");
  CHECK_INTACT(file_.holds(0, 48), file_.name(), ": is truncated: it has ", file_.size(), " bytes");
  const int version = file_.metadata(signature, 1, what)[0];
  const bool old = version < 2;
  if (version > 3) file_.damaged(str("its superblock is of version ", version, ", unknown here"));
  if (old && !file_.holds(0, 100)) file_.damaged("its superblock is too short");
  const Block block = old ? file_.metadata(0, 100, what) : file_.checksummed(0, 48, what);
  Cursor cursor(file_, block, 0, what);
  cursor.skip(signature + 1);
  if (old) cursor.skip(4);
  const int address_bytes = cursor.u8(), length_bytes = cursor.u8();
  if (address_bytes != 8 || length_bytes != 8) cursor.damaged("has addresses not of 8 bytes");
  if (old)
    cursor.skip(version == 0 ? 9 : 13);
  else if (cursor.u8() & 1)
    cursor.damaged("says that the file was not closed by the program that wrote it");
  if (cursor.u64() != 0) cursor.damaged("has a base address other than 0");
  cursor.skip(8);  // free space, or an extension that does not matter here
  file_.end_at(cursor.u64());
  if (old) cursor.skip(16);  // a driver's block; the name of "/"
  return cursor.u64();
}

void Contents::walk(std::uint64_t address, const std::string& path, int depth) {
  StoredObject& object = objects_[path];
  if (!walked_.insert(address).second) {
    object.problem = "is another name of an object that has one";
    return;
  }
  if (depth > kDeepest) file_.damaged(str("its groups are nested more than ", kDeepest, " deep"));
  if (path.size() > kLongestPath)
    file_.damaged(str("a path in it is longer than ", kLongestPath, " bytes"));
  const std::vector<Message> header = read_header(file_, address);
  object.attributes = read_attributes(file_, texts_, header);
  object.dataset = read_dataset(file_, header);
  if (object.dataset) {
    const StoredDataset& d = *object.dataset;
    if (!d.problem.empty()) return;
    element_bytes_ += std::uint64_t(d.shape.count()) * std::uint64_t(size_of(d.dtype));
    if (element_bytes_ > file_.size()) file_.damaged("its datasets lie upon each other");
    return;
  }
  const auto links = read_links(file_, header);
  if (!links) {
    object.problem = "is neither a group nor a dataset";
    return;
  }
  object.names.emplace();
  for (const Link& link : *links) {
    object.names->push_back(link.name);
    const std::string child = (path == "/" ? "" : path) + "/" + link.name;
    if (link.object)
      walk(*link.object, child, depth + 1);
    else
      objects_[child].problem = "is a link by name, which is not followed";
  }
}

const StoredObject* Contents::find(const std::string& path) const {
  const auto found = objects_.find(path);
  return found == objects_.end() ? nullptr : &found->second;
}

void Contents::for_each_piece(
    const StoredDataset& dataset, const Extents& start, const Extents& count,
    const std::function<void(std::uint64_t, std::uint64_t)>& visit) const {
  const Storage& storage = dataset.storage;
  const auto element = std::uint64_t(size_of(dataset.dtype));
  // A scalar is a vector of one. Whole rows that lie one behind the other are one.
  auto rank = std::size_t(dataset.shape.rank);
  Extents extents{1}, from = start, n = count;
  for (std::size_t i = 0; i < rank; ++i) extents[i] = std::uint64_t(dataset.shape.extent[i]);
  if (rank == 0) {
    rank = 1;
    from[0] = 0;
    n[0] = 1;
  }
  if (std::any_of(n.begin(), n.begin() + std::ptrdiff_t(rank), [](auto x) { return x == 0; }))
    return;
  for (; !storage.chunked && rank > 1 && n[rank - 1] == extents[rank - 1]; --rank) {
    from[rank - 2] *= extents[rank - 1];
    n[rank - 2] *= extents[rank - 1];
    extents[rank - 2] *= extents[rank - 1];
  }
  Extents at = from;  // of the next run along the last extent
  const std::size_t last = rank - 1;
  for (;;) {
    if (!storage.chunked) {
      std::uint64_t index = 0;
      for (std::size_t i = 0; i < rank; ++i) index = index * extents[i] + at[i];
      visit(storage.address + index * element, n[last] * element);
    } else {
      for (std::uint64_t done = 0; done < n[last];) {
        std::uint64_t chunk = 0, index = 0;
        for (std::size_t i = 0; i < rank; ++i) {
          const std::uint64_t place = at[i] + (i == last ? done : 0);
          chunk = chunk * storage.grid[i] + place / storage.chunk[i];
          index = index * storage.chunk[i] + place % storage.chunk[i];
        }
        const std::uint64_t run =
            std::min(n[last] - done, storage.chunk[last] - (at[last] + done) % storage.chunk[last]);
        visit(storage.addresses[chunk] + index * element, run * element);
        done += run;
      }
    }
    std::size_t i = last;
    while (i > 0 && ++at[i - 1] == from[i - 1] + n[i - 1]) {
      at[i - 1] = from[i - 1];
      --i;
    }
    if (i == 0) return;
  }
}

}  // namespace lacuna::h5
