#include <algorithm>
#include <array>
#include <cstring>

#include "checkpoint/hdf5.h"
#include "checkpoint/hdf5_detail.h"

namespace lacuna::h5 {
namespace {

constexpr const char* kChecksum = "crc32c";
constexpr std::int64_t kPieceBytes = 8 << 20;  // what verifying holds at a time
constexpr hsize_t kChunkBytes = 256 << 10;     // of a growing dataset

using Extents = std::array<hsize_t, 4>;
Extents extents_of(Shape shape) {
  Extents extents{};
  for (int i = 0; i < shape.rank; ++i) extents[std::size_t(i)] = hsize_t(shape[i]);
  return extents;
}

Handle space_of(Shape shape, const std::string& what) {
  if (shape.rank == 0) return {H5Screate(H5S_SCALAR), H5Sclose, what};
  return {H5Screate_simple(shape.rank, extents_of(shape).data(), nullptr), H5Sclose, what};
}

Handle open_dataset(hid_t file, const std::string& dataset, const std::string& what) {
  return {H5Dopen2(file, dataset.c_str(), H5P_DEFAULT), H5Dclose, what};
}

void check_memory(const Tensor& t, const std::string& what) {
  CHECK(t.place == Place::host && t.contiguous(), what,
        ": only contiguous tensors in main memory can be written or read, not ", t);
  CHECK(t.data || t.count() == 0, what, ": the tensor ", t, " has no memory");
}

std::int64_t rows_of(Shape shape) { return shape.rank ? shape[0] : 1; }
std::int64_t row_count(Shape shape) {  // elements of a row
  std::int64_t n = 1;
  for (int i = 1; i < shape.rank; ++i) n *= shape[i];
  return n;
}

herr_t collect_link(hid_t, const char* name, const H5L_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

}  // namespace

bool File::exists(const std::string& object) const {
  const std::string path = absolute(object);
  // HDF5 wants every link on the way to exist, and to lead to a group, before it looks at the next.
  for (std::size_t end = 1; end < path.size(); ++end) {
    end = std::min(path.find('/', end), path.size());
    const std::string part = path.substr(0, end);
    if (check(H5Lexists(id_, part.c_str(), H5P_DEFAULT), at(path)) == 0) return false;
    if (check(H5Oexists_by_name(id_, part.c_str(), H5P_DEFAULT), at(path)) == 0) return false;
    const Handle link(H5Oopen(id_, part.c_str(), H5P_DEFAULT), H5Oclose, at(path));
    if (end < path.size() && H5Iget_type(link) != H5I_GROUP) return false;
  }
  return true;
}

bool File::is_dataset(const std::string& path) const {
  if (path == "/" || !exists(path)) return false;
  const Handle object(H5Oopen(id_, path.c_str(), H5P_DEFAULT), H5Oclose, at(path));
  return H5Iget_type(object) == H5I_DATASET;
}

Shape File::shape(const std::string& dataset) const {
  const std::string what = at(dataset);
  const Handle d = open_dataset(id_, dataset, what);
  const Handle space(H5Dget_space(d), H5Sclose, what);
  const int rank = check(H5Sget_simple_extent_ndims(space), what);
  CHECK(rank <= 4, what, ": has ", rank, " extents; at most 4 are known here");
  Extents extents{};
  check(H5Sget_simple_extent_dims(space, extents.data(), nullptr), what);
  Shape shape;
  shape.rank = rank;
  for (int i = 0; i < rank; ++i)
    shape.extent[std::size_t(i)] = std::int64_t(extents[std::size_t(i)]);
  return shape;
}

DType File::dtype(const std::string& dataset) const {
  const std::string what = at(dataset);
  const Handle d = open_dataset(id_, dataset, what);
  const Handle type(H5Dget_type(d), H5Tclose, what);
  for (const DType known :
       {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32, DType::i64, DType::u8})
    if (check(H5Tequal(type, type_of(known)), what) > 0) return known;
  fail(what + ": has an element type other than f32, f64, bf16, f16, i32, i64, u8");
}

std::vector<std::string> File::list(const std::string& group) const {
  std::vector<std::string> names;
  const Handle g(H5Gopen2(id_, group.c_str(), H5P_DEFAULT), H5Gclose, at(group));
  check(H5Literate(g, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_link, &names), at(group));
  std::sort(names.begin(), names.end());
  return names;
}

void File::create(const std::string& dataset, Shape shape, DType dtype, bool growing) {
  const std::string what = at(dataset);
  CHECK(!growing || shape.rank == 1, what, ": only a vector can grow, not ", shape);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, what);
  check(H5Pset_create_intermediate_group(links, 1), what);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  // Every element is written, or seal() complains; filling them first would write the file twice.
  check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), what);
  const Extents extents = extents_of(shape);
  const hsize_t unlimited = H5S_UNLIMITED, chunk = kChunkBytes / hsize_t(size_of(dtype));
  if (growing) check(H5Pset_chunk(layout, 1, &chunk), what);
  const Handle space = growing
                           ? Handle(H5Screate_simple(1, extents.data(), &unlimited), H5Sclose, what)
                           : space_of(shape, what);
  checked_write(id_, what, [&] {
    const Handle d(
        H5Dcreate2(id_, dataset.c_str(), type_of(dtype), space, links, layout, H5P_DEFAULT),
        H5Dclose, what);
  });
  pending_[absolute(dataset)].row_bytes = row_count(shape) * size_of(dtype);
}

std::int64_t File::reserve(const std::string& dataset, Shape shape, DType dtype) {
  const std::string what = at(dataset);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, what);
  check(H5Pset_create_intermediate_group(links, 1), what);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  check(H5Pset_layout(layout, H5D_CONTIGUOUS), what);
  check(H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY), what);
  check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), what);
  const Handle space = space_of(shape, what);
  haddr_t place = HADDR_UNDEF;
  checked_write(id_, what, [&] {
    const Handle d(
        H5Dcreate2(id_, dataset.c_str(), type_of(dtype), space, links, layout, H5P_DEFAULT),
        H5Dclose, what);
    place = H5Dget_offset(d);
    if (place == HADDR_UNDEF) reason();
  });
  CHECK(place != HADDR_UNDEF || shape.count() == 0, what, ": got no place in the file");
  return std::int64_t(place);
}

void File::write_part(const std::string& dataset, std::int64_t first_row, const Tensor& t,
                      bool grow) {
  checked_write(id_, at(dataset), [&] { transfer(dataset, first_row, t, true, grow); });
}

void File::transfer(const std::string& dataset, std::int64_t first_row, const Tensor& t, bool write,
                    bool grow) const {
  const std::string what = at(dataset);
  check_memory(t, what);
  const Handle d = open_dataset(id_, dataset, what);
  const Shape all = shape(dataset);
  const DType stored = dtype(dataset);
  CHECK(t.dtype == stored, what, ": holds ", stored, " elements, not ", t.dtype);
  Extents start{}, count = extents_of(t.shape);
  if (grow) {
    CHECK(all.rank == 1 && t.shape.rank == 1, what, ": ", t.shape, " cannot be appended to ", all);
    first_row = all[0];
    const hsize_t grown = hsize_t(all[0]) + count[0];
    check(H5Dset_extent(d, &grown), what);
  } else {
    bool fits = t.shape.rank == all.rank;
    for (int i = 1; fits && i < all.rank; ++i) fits = t.shape[i] == all[i];
    CHECK(fits && first_row >= 0 && first_row <= rows_of(all) - rows_of(t.shape), what, ": rows ",
          first_row, " to ", first_row + rows_of(t.shape), " of shape ", t.shape,
          " do not lie in shape ", all);
  }
  if (t.count() == 0) return;
  const Handle memory = space_of(t.shape, what);
  const Handle file(H5Dget_space(d), H5Sclose, what);
  start[0] = hsize_t(first_row);
  if (all.rank > 0)
    check(H5Sselect_hyperslab(file, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          what);
  const hid_t type = type_of(stored);
  check(write ? H5Dwrite(d, type, memory, file, H5P_DEFAULT, t.data)
              : H5Dread(d, type, memory, file, H5P_DEFAULT, t.data),
        what + (write ? ": cannot write" : ": cannot read"));
}

void File::write_rows(const std::string& dataset, std::int64_t first_row, const Tensor& t) {
  const auto found = pending_.find(absolute(dataset));
  CHECK(found != pending_.end(), at(dataset), ": was not created, or is sealed");
  write_part(dataset, first_row, t, false);
  Pending& p = found->second;
  p.parts.push_back({first_row * p.row_bytes, t.bytes(), crc32c(t.data, std::size_t(t.bytes()))});
}

void File::append(const std::string& dataset, const Tensor& t) {
  const auto found = pending_.find(absolute(dataset));
  CHECK(found != pending_.end(), at(dataset), ": was not created, or is sealed");
  write_part(dataset, 0, t, true);
  std::vector<ChecksumPart>& parts = found->second.parts;
  if (parts.empty()) parts.push_back({});
  ChecksumPart& whole = parts.front();  // appended parts are neighbours: one sum goes on
  whole.crc = crc32c(t.data, std::size_t(t.bytes()), whole.crc);
  whole.bytes += t.bytes();
}

void File::write(const std::string& dataset, const Tensor& t) {
  create(dataset, t.shape, t.dtype);
  write_rows(dataset, 0, t);
  seal(dataset);
}

void File::seal(const std::string& dataset) {
  const auto found = pending_.find(absolute(dataset));
  if (found == pending_.end()) return;
  const std::int64_t total = shape(dataset).count() * size_of(dtype(dataset));
  std::uint32_t crc = 0;
  switch (crc32c_of_parts(found->second.parts, total, crc)) {
    case Coverage::exact:
      break;
    case Coverage::gap:
      fail(at(dataset) + ": some of its rows were never written");
    case Coverage::overlap:
      crc = checksum_of_content(dataset);
      break;
  }
  set_attribute(dataset, kChecksum, std::int64_t(crc));
  pending_.erase(found);
}

void File::seal(const std::string& dataset, std::uint32_t crc) {
  set_attribute(dataset, kChecksum, std::int64_t(crc));
}

void File::seal() {
  while (!pending_.empty()) seal(std::string(pending_.begin()->first));
}

std::uint32_t File::stored_checksum(const std::string& dataset) const {
  CHECK(has_attribute(dataset, kChecksum), at(dataset), ": has no checksum (attribute ", kChecksum,
        ")");
  return std::uint32_t(int_attribute(dataset, kChecksum));
}

void File::read(const std::string& dataset, const Tensor& out) const {
  const Shape stored = shape(dataset);
  CHECK(stored == out.shape, at(dataset), ": has shape ", stored, ", not ", out.shape);
  transfer(dataset, 0, out, false, false);
  CHECK(crc32c(out.data, std::size_t(out.bytes())) == stored_checksum(dataset), at(dataset),
        ": damaged: its content does not match its checksum");
}

void File::read_rows(const std::string& dataset, std::int64_t first_row, const Tensor& out) const {
  transfer(dataset, first_row, out, false, false);
}

void File::read_box(const std::string& dataset, std::int64_t row, std::int64_t col,
                    const Tensor& out) const {
  const std::string what = at(dataset);
  check_memory(out, what);
  const Shape all = shape(dataset);
  const DType stored = dtype(dataset);
  CHECK(out.dtype == stored, what, ": holds ", stored, " elements, not ", out.dtype);
  const Tensor whole(nullptr, all, stored);
  CHECK(all.rank <= 2 && row >= 0 && col >= 0 && row + out.rows() <= whole.rows() &&
            col + out.cols() <= whole.cols(),
        what, ": ", out, " at row ", row, ", column ", col, " is no part of shape ", all);
  if (out.count() == 0) return;
  const Handle d = open_dataset(id_, dataset, what);
  const Handle file(H5Dget_space(d), H5Sclose, what);
  const Handle memory = space_of({out.count()}, what);
  const std::array<hsize_t, 2> start = {hsize_t(row), hsize_t(col)},
                               count = {hsize_t(out.rows()), hsize_t(out.cols())};
  const std::size_t skipped = std::size_t(2 - all.rank);  // extents that only the view has
  if (all.rank > 0)
    check(H5Sselect_hyperslab(file, H5S_SELECT_SET, start.data() + skipped, nullptr,
                              count.data() + skipped, nullptr),
          what);
  check(H5Dread(d, type_of(stored), memory, file, H5P_DEFAULT, out.data), what + ": cannot read");
}

std::uint32_t File::checksum_of_content(const std::string& dataset) const {
  const Shape all = shape(dataset);
  const DType type = dtype(dataset);
  const std::int64_t row_bytes = std::max<std::int64_t>(1, row_count(all) * size_of(type));
  const std::int64_t rows = rows_of(all), step = std::max<std::int64_t>(1, kPieceBytes / row_bytes);
  std::vector<char> piece(std::size_t(std::min(step, rows) * row_bytes));
  std::uint32_t crc = 0;
  for (std::int64_t first = 0; first < rows; first += step) {
    Shape part = all;
    if (all.rank > 0) part.extent[0] = std::min(step, rows - first);
    const Tensor t(static_cast<void*>(piece.data()), part, type);
    transfer(dataset, first, t, false, false);
    crc = crc32c(t.data, std::size_t(t.bytes()), crc);
  }
  return crc;
}

void File::verify(const std::string& dataset) const {
  const std::uint32_t stored = stored_checksum(dataset);
  CHECK(checksum_of_content(dataset) == stored, at(dataset),
        ": damaged: its content does not match its checksum");
}

}  // namespace lacuna::h5
