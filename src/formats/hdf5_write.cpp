#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "formats/hdf5.h"
#include "formats/hdf5_attributes.h"
#include "formats/hdf5_detail.h"

namespace lacuna::h5 {
namespace {

constexpr hsize_t kChunkBytes = 256 << 10;  // of a growing dataset

using Sizes = std::array<hsize_t, 4>;
Sizes sizes_of(Shape shape) {
  Sizes sizes{};
  for (int i = 0; i < shape.rank; ++i) sizes[std::size_t(i)] = hsize_t(shape[i]);
  return sizes;
}

Handle space_of(Shape shape, const std::string& what) {
  if (shape.rank == 0) return {H5Screate(H5S_SCALAR), H5Sclose, what};
  return {H5Screate_simple(shape.rank, sizes_of(shape).data(), nullptr), H5Sclose, what};
}

/// So that equal contents are equal files.
void keep_no_times(hid_t properties, const std::string& what) {
  check(H5Pset_obj_track_times(properties, false), what);
}

std::int64_t rows_of(Shape shape) { return shape.rank ? shape[0] : 1; }
std::int64_t row_count(Shape shape) {  // elements of a row
  std::int64_t n = 1;
  for (int i = 1; i < shape.rank; ++i) n *= shape[i];
  return n;
}

/// Groups keep all links in their headers. In the other kind of group, for many links, one flipped
/// bit makes HDF5 1.10 itself crash when another program lists it.
void keep_links_in_header(hid_t properties, const std::string& what) {
  constexpr unsigned most = 65535;  // as many as HDF5 allows
  check(H5Pset_link_phase_change(properties, most, most), what);
}

}  // namespace

FileWriter::FileWriter(const std::filesystem::path& path) : name_(path.string()) {
  const Handle access = file_access();
  const Handle properties(H5Pcreate(H5P_FILE_CREATE), H5Pclose, name_);
  keep_links_in_header(properties, name_);
  keep_no_times(properties, name_);
  errno = 0;
  id_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, properties, access);
  const int system = errno;
  if (id_ < 0) {
    const std::string why = reason();
    fail(name_ + ": cannot write: " + (system ? std::strerror(system) : why));
  }
  try {
    checked_write(id_, name_, [] {});
  } catch (...) {
    H5Fclose(id_);
    throw;
  }
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : id_(std::exchange(other.id_, -1)),
      name_(std::move(other.name_)),
      pending_(std::move(other.pending_)),
      attributes_(std::move(other.attributes_)) {}

FileWriter::~FileWriter() {
  if (id_ >= 0) H5Fclose(id_);
}

std::string FileWriter::at(const std::string& object) const {
  return name_ + ": " + absolute(object);
}

FileWriter::Pending& FileWriter::pending(const std::string& dataset) {
  const auto found = pending_.find(absolute(dataset));
  CHECK(found != pending_.end(), at(dataset), ": was not created, or is sealed");
  return found->second;
}

void FileWriter::flush() {
  checked_write(id_, name_, [&] { check(H5Fflush(id_, H5F_SCOPE_GLOBAL), name_); });
}

void FileWriter::close() {
  if (id_ < 0) return;
  checked_write(id_, name_, [&] {
    while (!pending_.empty()) seal(std::string(pending_.begin()->first));
    set_attribute("/", kAttributesChecksum, std::int64_t(checksum_of(attributes_)));
    check(H5Fflush(id_, H5F_SCOPE_GLOBAL), name_);
  });
  const herr_t closed = H5Fclose(std::exchange(id_, -1));
  if (const int failure = write_failure_of_closed(); failure != 0)
    fail(name_ + ": cannot write: " + std::strerror(failure));
  check(closed, name_ + ": cannot close");
}

void FileWriter::set_attribute(const std::string& attribute, const Attribute& v) {
  set_attribute("/", attribute, v);
  attributes_[attribute] = v;
}

void FileWriter::set_attribute(const std::string& object, const std::string& attribute,
                               const Attribute& v) {
  const std::string what = at(object) + ": attribute " + attribute;
  if (const auto* text = std::get_if<std::string>(&v))
    CHECK(text->find('\0') == std::string::npos, what, ": contains a NUL character");
  checked_write(id_, what, [&] {
    const Handle owner(H5Oopen(id_, object.c_str(), H5P_DEFAULT), H5Oclose, what);
    if (check(H5Aexists(owner, attribute.c_str()), what) > 0)
      check(H5Adelete(owner, attribute.c_str()), what);
    const Handle scalar(H5Screate(H5S_SCALAR), H5Sclose, what);
    const auto write = [&](hid_t type, const void* value) {
      const Handle a(H5Acreate2(owner, attribute.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT),
                     H5Aclose, what);
      check(H5Awrite(a, type, value), what);
    };
    if (const auto* text = std::get_if<std::string>(&v)) {
      const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, what);
      check(H5Tset_size(type, std::max<std::size_t>(1, text->size())), what);
      check(H5Tset_strpad(type, H5T_STR_NULLPAD), what);
      check(H5Tset_cset(type, H5T_CSET_UTF8), what);
      write(type, text->c_str());
    } else if (const auto* number = std::get_if<std::int64_t>(&v)) {
      write(H5T_STD_I64LE, number);
    } else {
      write(H5T_IEEE_F64LE, &std::get<double>(v));
    }
  });
}

void FileWriter::make_groups(const std::string& dataset) {
  const std::string path = absolute(dataset);
  for (std::size_t end = path.find('/', 1); end != std::string::npos;
       end = path.find('/', end + 1)) {
    const std::string group = path.substr(0, end), what = at(group);
    if (check(H5Lexists(id_, group.c_str(), H5P_DEFAULT), what) > 0) continue;
    const Handle properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, what);
    keep_links_in_header(properties, what);
    keep_no_times(properties, what);
    checked_write(id_, what, [&] {
      const Handle made(H5Gcreate2(id_, group.c_str(), H5P_DEFAULT, properties, H5P_DEFAULT),
                        H5Gclose, what);
    });
  }
}

void FileWriter::create(const std::string& dataset, Shape shape, DType dtype, bool growing) {
  const std::string what = at(dataset);
  CHECK(!growing || shape.rank == 1, what, ": only a vector can grow, not ", shape);
  make_groups(dataset);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  keep_no_times(layout, what);
  // Every element is written, or seal() complains; filling them first would write the file twice.
  check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), what);
  const Sizes sizes = sizes_of(shape);
  const hsize_t unlimited = H5S_UNLIMITED, chunk = kChunkBytes / hsize_t(size_of(dtype));
  if (growing) check(H5Pset_chunk(layout, 1, &chunk), what);
  const Handle space = growing
                           ? Handle(H5Screate_simple(1, sizes.data(), &unlimited), H5Sclose, what)
                           : space_of(shape, what);
  checked_write(id_, what, [&] {
    const Handle d(
        H5Dcreate2(id_, dataset.c_str(), type_of(dtype), space, H5P_DEFAULT, layout, H5P_DEFAULT),
        H5Dclose, what);
  });
  pending_[absolute(dataset)] = {shape, dtype, growing, {}};
}

std::int64_t FileWriter::reserve(const std::string& dataset, Shape shape, DType dtype) {
  const std::string what = at(dataset);
  make_groups(dataset);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  keep_no_times(layout, what);
  check(H5Pset_layout(layout, H5D_CONTIGUOUS), what);
  check(H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY), what);
  check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), what);
  const Handle space = space_of(shape, what);
  haddr_t place = HADDR_UNDEF;
  checked_write(id_, what, [&] {
    const Handle d(
        H5Dcreate2(id_, dataset.c_str(), type_of(dtype), space, H5P_DEFAULT, layout, H5P_DEFAULT),
        H5Dclose, what);
    place = H5Dget_offset(d);
    if (place == HADDR_UNDEF) reason();
  });
  CHECK(place != HADDR_UNDEF || shape.count() == 0, what, ": got no place in the file");
  return std::int64_t(place);
}

void FileWriter::put(const std::string& dataset, std::int64_t first_row, const Tensor& t,
                     bool grow) {
  const std::string what = at(dataset);
  Pending& p = pending(dataset);
  CHECK(t.place == Place::host && t.contiguous(), what,
        ": only contiguous tensors in main memory can be written, not ", t);
  CHECK(t.data || t.count() == 0, what, ": the tensor ", t, " has no memory");
  CHECK(t.dtype == p.dtype, what, ": holds ", p.dtype, " elements, not ", t.dtype);
  bool fits = t.shape.rank == p.shape.rank && grow == p.growing;
  for (int i = 1; fits && i < p.shape.rank; ++i) fits = t.shape[i] == p.shape[i];
  Shape after = p.shape;
  if (grow) after.extent[0] += rows_of(t.shape);
  CHECK(fits && first_row >= 0 && first_row <= rows_of(after) - rows_of(t.shape), what, ": rows ",
        first_row, " to ", first_row + rows_of(t.shape), " of shape ", t.shape,
        " do not lie in shape ", after);
  if (t.count() == 0) return;
  checked_write(id_, what, [&] {
    const Handle d(H5Dopen2(id_, dataset.c_str(), H5P_DEFAULT), H5Dclose, what);
    const Sizes count = sizes_of(t.shape), grown = sizes_of(after);
    if (grow) check(H5Dset_extent(d, grown.data()), what);
    const Handle memory = space_of(t.shape, what);
    const Handle file(H5Dget_space(d), H5Sclose, what);
    Sizes start{};
    start[0] = hsize_t(first_row);
    if (after.rank > 0)
      check(H5Sselect_hyperslab(file, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
            what);
    check(H5Dwrite(d, type_of(p.dtype), memory, file, H5P_DEFAULT, t.data),
          what + ": cannot write");
  });
  p.shape = after;
}

void FileWriter::write_rows(const std::string& dataset, std::int64_t first_row, const Tensor& t) {
  put(dataset, first_row, t, false);
  Pending& p = pending(dataset);
  p.parts.push_back({first_row * row_count(p.shape) * size_of(p.dtype), t.bytes(),
                     crc32c(t.data, std::size_t(t.bytes()))});
}

void FileWriter::append(const std::string& dataset, const Tensor& t) {
  put(dataset, rows_of(pending(dataset).shape), t, true);
  std::vector<ChecksumPart>& parts = pending(dataset).parts;
  if (parts.empty()) parts.push_back({});
  ChecksumPart& whole = parts.front();  // appended parts are neighbours: one sum goes on
  whole.crc = crc32c(t.data, std::size_t(t.bytes()), whole.crc);
  whole.bytes += t.bytes();
}

void FileWriter::write(const std::string& dataset, const Tensor& t) {
  create(dataset, t.shape, t.dtype);
  write_rows(dataset, 0, t);
  seal(dataset);
}

void FileWriter::seal(const std::string& dataset) {
  const Pending& p = pending(dataset);
  std::uint32_t crc = 0;
  switch (crc32c_of_parts(p.parts, p.shape.count() * size_of(p.dtype), crc)) {
    case Coverage::exact:
      break;
    case Coverage::gap:
      fail(at(dataset) + ": some of its rows were never written");
    case Coverage::overlap:
      fail(at(dataset) + ": some of its rows were written twice");
  }
  seal(dataset, crc);
  pending_.erase(absolute(dataset));
}

void FileWriter::seal(const std::string& dataset, std::uint32_t crc) {
  set_attribute(dataset, kChecksum, std::int64_t(crc));
}

}  // namespace lacuna::h5
