#include <algorithm>
#include <cstring>

#include "formats/hdf5.h"
#include "formats/hdf5_attributes.h"
#include "formats/hdf5_contents.h"

namespace lacuna::h5 {
namespace {

constexpr std::uint64_t kPieceBytes = 8 << 20;  // what verifying holds at a time

void check_memory(const Tensor& t, const std::string& what) {
  CHECK(t.place == Place::host && t.contiguous(), what,
        ": can be read only into contiguous main memory, not ", t);
  CHECK(t.data || t.count() == 0, what, ": the tensor ", t, " has no memory");
}

Extents extents_of(Shape shape) {
  Extents extents{};
  for (int i = 0; i < shape.rank; ++i)
    extents[std::size_t(i)] = std::uint64_t(shape.extent[std::size_t(i)]);
  return extents;
}

std::int64_t rows_of(Shape shape) { return shape.rank ? shape[0] : 1; }

}  // namespace

File::File(std::unique_ptr<const Contents> contents) : contents_(std::move(contents)) {}
File::File(File&& other) noexcept = default;
File& File::operator=(File&& other) noexcept = default;
File::~File() = default;

File File::open(const std::filesystem::path& path) {
  File file(std::make_unique<const Contents>(path));
  if (!file.has_attribute(kAttributesChecksum)) return file;
  std::map<std::string, Attribute> values;
  bool all = true;
  for (const auto& [name, stored] : file.object("/").attributes)
    if (name == kAttributesChecksum)
      continue;
    else if (stored.value)
      values.emplace(name, *stored.value);
    else
      all = false;
  CHECK_INTACT(all && file.int_attribute(kAttributesChecksum) == std::int64_t(checksum_of(values)),
               file.name(), ": damaged: its attributes do not match their checksum");
  return file;
}

const std::string& File::name() const { return contents_->name(); }

std::string File::at(const std::string& object) const { return name() + ": " + absolute(object); }

const StoredObject& File::object(const std::string& path) const {
  const StoredObject* found = contents_->find(absolute(path));
  CHECK(found, at(path), ": is missing");
  CHECK(found->problem.empty(), at(path), ": ", found->problem);
  return *found;
}

const StoredDataset& File::dataset(const std::string& path) const {
  const StoredObject& found = object(path);
  CHECK(found.dataset, at(path), ": is a group, not a dataset");
  CHECK(found.dataset->problem.empty(), at(path), ": ", found.dataset->problem);
  return *found.dataset;
}

const StoredDataset& File::dataset_for(const std::string& path, const Tensor& out) const {
  check_memory(out, at(path));
  const StoredDataset& d = dataset(path);
  CHECK(out.dtype == d.dtype, at(path), ": holds ", d.dtype, " elements, not ", out.dtype);
  return d;
}

Attribute File::attribute(const std::string& path, const std::string& name) const {
  const auto& all = object(path).attributes;
  const auto found = all.find(name);
  CHECK(found != all.end(), this->name(), ": ", path == "/" ? "" : path + " ", "has no attribute '",
        name, "'");
  CHECK(found->second.value, at(path), ": attribute ", name, ": ", found->second.problem);
  return *found->second.value;
}

std::string File::string_attribute(const std::string& path, const std::string& name) const {
  const Attribute v = attribute(path, name);
  const auto* text = std::get_if<std::string>(&v);
  CHECK(text, at(path), ": attribute ", name, ": is a number, not text");
  return *text;
}

std::int64_t File::int_attribute(const std::string& path, const std::string& name) const {
  const Attribute v = attribute(path, name);
  const auto* number = std::get_if<std::int64_t>(&v);
  CHECK(number, at(path), ": attribute ", name, ": is not an integer");
  return *number;
}

bool File::has_attribute(const std::string& path, const std::string& name) const {
  return object(path).attributes.count(name) > 0;
}

std::vector<std::string> File::attribute_names(const std::string& path) const {
  std::vector<std::string> names;
  for (const auto& attribute : object(path).attributes) names.push_back(attribute.first);
  return names;
}

bool File::exists(const std::string& path) const {
  const StoredObject* found = contents_->find(absolute(path));
  return found && found->problem.empty();
}

bool File::is_dataset(const std::string& path) const {
  return exists(path) && object(path).dataset;
}

Shape File::shape(const std::string& path) const { return dataset(path).shape; }
DType File::dtype(const std::string& path) const { return dataset(path).dtype; }

std::vector<std::string> File::list(const std::string& group) const {
  const StoredObject& found = object(group);
  CHECK(found.names, at(group), ": is a dataset, not a group");
  return *found.names;
}

std::uint32_t File::stored_checksum(const std::string& path) const {
  CHECK(has_attribute(path, kChecksum), at(path), ": has no checksum (attribute ", kChecksum, ")");
  return std::uint32_t(int_attribute(path, kChecksum));
}

void File::read(const std::string& path, const Tensor& out) const {
  const Shape stored = shape(path);
  CHECK(stored == out.shape, at(path), ": has shape ", stored, ", not ", out.shape);
  read_rows(path, 0, out);
  CHECK_INTACT(crc32c(out.data, std::size_t(out.bytes())) == stored_checksum(path), at(path),
               ": damaged: its content does not match its checksum");
}

void File::read_rows(const std::string& path, std::int64_t first_row, const Tensor& out) const {
  const StoredDataset& d = dataset_for(path, out);
  bool fits = out.shape.rank == d.shape.rank;
  for (int i = 1; fits && i < d.shape.rank; ++i) fits = out.shape[i] == d.shape[i];
  CHECK(fits && first_row >= 0 && first_row <= rows_of(d.shape) - rows_of(out.shape), at(path),
        ": rows ", first_row, " to ", first_row + rows_of(out.shape), " of shape ", out.shape,
        " do not lie in shape ", d.shape);
  auto* to = static_cast<char*>(out.data);
  Extents start{};
  start[0] = std::uint64_t(first_row);
  contents_->for_each_piece(d, start, extents_of(out.shape),
                            [&](std::uint64_t address, std::uint64_t bytes) {
                              contents_->read(to, address, bytes);
                              to += bytes;
                            });
}

void File::read_box(const std::string& path, std::int64_t row, std::int64_t col,
                    const Tensor& out) const {
  const StoredDataset& d = dataset_for(path, out);
  const Tensor whole(nullptr, d.shape, d.dtype);
  CHECK(d.shape.rank <= 2 && row >= 0 && col >= 0 && row <= whole.rows() - out.rows() &&
            col <= whole.cols() - out.cols(),
        at(path), ": ", out, " at row ", row, ", column ", col, " is no part of shape ", d.shape);
  if (out.count() == 0) return;
  const bool matrix = d.shape.rank == 2;
  Extents start{}, count{};
  start[0] = std::uint64_t(matrix ? row : col);
  count[0] = std::uint64_t(matrix ? out.rows() : out.cols());
  start[1] = std::uint64_t(col);
  count[1] = std::uint64_t(out.cols());
  auto* to = static_cast<char*>(out.data);
  contents_->for_each_piece(d, start, count, [&](std::uint64_t address, std::uint64_t bytes) {
    contents_->read(to, address, bytes);
    to += bytes;
  });
}

std::vector<FilePiece> File::pieces(const std::string& path) const {
  const StoredDataset& d = dataset(path);
  std::vector<FilePiece> all;
  contents_->for_each_piece(d, {}, extents_of(d.shape),
                            [&](std::uint64_t address, std::uint64_t bytes) {
                              if (!all.empty() && all.back().address + all.back().bytes == address)
                                all.back().bytes += bytes;
                              else
                                all.push_back({address, bytes});
                            });
  return all;
}

void File::verify(const std::string& path) const {
  const std::uint32_t stored = stored_checksum(path);
  const StoredDataset& d = dataset(path);
  std::vector<char> piece;
  std::uint32_t crc = 0;
  contents_->for_each_piece(d, {}, extents_of(d.shape),
                            [&](std::uint64_t address, std::uint64_t bytes) {
                              for (std::uint64_t done = 0; done < bytes; done += piece.size()) {
                                piece.resize(std::min(kPieceBytes, bytes - done));
                                contents_->read(piece.data(), address + done, piece.size());
                                crc = crc32c(piece.data(), piece.size(), crc);
                              }
                            });
  CHECK_INTACT(crc == stored, at(path), ": damaged: its content does not match its checksum");
}

}  // namespace lacuna::h5
