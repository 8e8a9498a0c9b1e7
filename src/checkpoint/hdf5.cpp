#include "checkpoint/hdf5.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/hdf5_detail.h"

namespace lacuna::h5 {
namespace {

constexpr const char* kAttributesChecksum = "attributes_crc32c";

Handle open_object(hid_t file, const std::string& object, const std::string& what) {
  return {H5Oopen(file, object.c_str(), H5P_DEFAULT), H5Oclose, what};
}

Attribute read_string(hid_t attribute, hid_t type, const std::string& what) {
  if (check(H5Tis_variable_str(type), what) > 0) {  // as h5py writes them
    char* text = nullptr;
    const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose, what);
    check(H5Tset_size(memory, H5T_VARIABLE), what);
    check(H5Tset_cset(memory, H5Tget_cset(type)), what);
    check(H5Aread(attribute, memory, &text), what);
    std::string s(text ? text : "");
    H5free_memory(text);
    return s;
  }
  std::string s(H5Tget_size(type), '\0');
  check(H5Aread(attribute, type, s.data()), what);
  s.resize(std::min(s.size(), s.find('\0')));
  return s;
}

herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

}  // namespace

File::File(std::int64_t id, std::string name, bool writing)
    : id_(id), name_(std::move(name)), writing_(writing) {}

File::File(File&& other) noexcept
    : id_(std::exchange(other.id_, -1)),
      name_(std::move(other.name_)),
      writing_(other.writing_),
      pending_(std::move(other.pending_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (id_ >= 0) H5Fclose(id_);
    id_ = std::exchange(other.id_, -1);
    name_ = std::move(other.name_);
    writing_ = other.writing_;
    pending_ = std::move(other.pending_);
  }
  return *this;
}

File::~File() {
  if (id_ >= 0) H5Fclose(id_);
}

std::string File::at(const std::string& object) const { return name_ + ": " + absolute(object); }

File File::create(const std::filesystem::path& path) {
  const std::string name = path.string();
  const Handle access = file_access();
  errno = 0;
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  const int system = errno;
  if (id < 0) {
    const std::string why = reason();
    fail(name + ": cannot write: " + (system ? std::strerror(system) : why));
  }
  File file(id, name, true);
  checked_write(id, name, [] {});
  return file;
}

File File::open(const std::filesystem::path& path) {
  const std::string name = path.string();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  CHECK(std::filesystem::exists(status), name, ": ",
        error ? error.message() : "no such file or directory");
  CHECK(!std::filesystem::is_directory(status), name, ": is a folder, not a file");
  CHECK(std::filesystem::is_regular_file(status), name, ": is not a regular file");
  CHECK(std::filesystem::file_size(path, error) > 0, name, ": is empty");
  const Handle access = file_access();
  errno = 0;
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  const int system = errno;
  if (id < 0) {
    const std::string why = reason();
    CHECK(system == 0, name, ": cannot read: ", std::strerror(system));
    CHECK(why.find("signature not found") == std::string::npos, name, ": is not an HDF5 file");
    CHECK(why.find("truncated") == std::string::npos, name, ": is truncated (", why, ")");
    fail(name + ": damaged: " + why);
  }
  File file(id, name, false);
  if (file.has_attribute(kAttributesChecksum))
    CHECK(file.int_attribute(kAttributesChecksum) == std::int64_t(file.attributes_checksum()), name,
          ": damaged: its attributes do not match their checksum");
  return file;
}

void File::flush() {
  checked_write(id_, name_, [&] { check(H5Fflush(id_, H5F_SCOPE_GLOBAL), name_); });
}

void File::close() {
  if (id_ < 0) return;
  if (!writing_) {
    H5Fclose(std::exchange(id_, -1));
    return;
  }
  checked_write(id_, name_, [&] {
    seal();
    set_attribute("/", kAttributesChecksum, std::int64_t(attributes_checksum()));
    check(H5Fflush(id_, H5F_SCOPE_GLOBAL), name_);
  });
  const herr_t closed = H5Fclose(std::exchange(id_, -1));
  if (const int failure = write_failure_of_closed(); failure != 0)
    fail(name_ + ": cannot write: " + std::strerror(failure));
  check(closed, name_ + ": cannot close");
}

void File::set_attribute(const std::string& object, const std::string& attribute,
                         const Attribute& v) {
  const std::string what = at(object) + ": attribute " + attribute;
  if (const auto* text = std::get_if<std::string>(&v))
    CHECK(text->find('\0') == std::string::npos, what, ": contains a NUL character");
  checked_write(id_, what, [&] {
    const Handle owner = open_object(id_, object, what);
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

Attribute File::attribute(const std::string& object, const std::string& attribute) const {
  const std::string what = at(object) + ": attribute " + attribute;
  const Handle owner = open_object(id_, object, what);
  CHECK(check(H5Aexists(owner, attribute.c_str()), what) > 0, name_, ": ",
        object == "/" ? "" : object + " ", "has no attribute '", attribute, "'");
  const Handle a(H5Aopen(owner, attribute.c_str(), H5P_DEFAULT), H5Aclose, what);
  const Handle type(H5Aget_type(a), H5Tclose, what);
  const Handle space(H5Aget_space(a), H5Sclose, what);
  CHECK(H5Sget_simple_extent_npoints(space) == 1, what, ": is not a single value");
  switch (H5Tget_class(type)) {
    case H5T_STRING:
      return read_string(a, type, what);
    case H5T_INTEGER: {
      std::int64_t number = 0;
      check(H5Aread(a, H5T_NATIVE_INT64, &number), what);
      return number;
    }
    case H5T_FLOAT: {
      double number = 0;
      check(H5Aread(a, H5T_NATIVE_DOUBLE, &number), what);
      return number;
    }
    default:
      fail(what + ": is neither text nor a number");
  }
}

std::string File::string_attribute(const std::string& object, const std::string& name) const {
  const Attribute v = attribute(object, name);
  const auto* text = std::get_if<std::string>(&v);
  CHECK(text, at(object), ": attribute ", name, ": is a number, not text");
  return *text;
}

std::int64_t File::int_attribute(const std::string& object, const std::string& name) const {
  const Attribute v = attribute(object, name);
  const auto* number = std::get_if<std::int64_t>(&v);
  CHECK(number, at(object), ": attribute ", name, ": is not an integer");
  return *number;
}

double File::double_attribute(const std::string& object, const std::string& name) const {
  const Attribute v = attribute(object, name);
  if (const auto* number = std::get_if<std::int64_t>(&v)) return double(*number);
  const auto* number = std::get_if<double>(&v);
  CHECK(number, at(object), ": attribute ", name, ": is text, not a number");
  return *number;
}

bool File::has_attribute(const std::string& object, const std::string& name) const {
  const Handle owner = open_object(id_, object, at(object));
  return check(H5Aexists(owner, name.c_str()), at(object) + ": attribute " + name) > 0;
}

std::vector<std::string> File::attribute_names(const std::string& object) const {
  std::vector<std::string> names;
  const Handle owner = open_object(id_, object, at(object));
  check(H5Aiterate2(owner, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_attribute, &names),
        at(object) + ": attributes");
  std::sort(names.begin(), names.end());
  return names;
}

std::uint32_t File::attributes_checksum() const {
  std::uint32_t crc = 0;
  for (const std::string& name : attribute_names("/")) {
    if (name == kAttributesChecksum) continue;
    const Attribute v = attribute("/", name);
    crc = crc32c(name.c_str(), name.size() + 1, crc);
    if (const auto* text = std::get_if<std::string>(&v))
      crc = crc32c(text->c_str(), text->size() + 1, crc);
    else if (const auto* number = std::get_if<std::int64_t>(&v))
      crc = crc32c(number, sizeof *number, crc);
    else
      crc = crc32c(&std::get<double>(v), sizeof(double), crc);
  }
  return crc;
}

}  // namespace lacuna::h5
