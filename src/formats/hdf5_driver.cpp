#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "formats/hdf5_detail.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace lacuna::h5 {
namespace {

constexpr haddr_t kMaxAddress = (haddr_t{1} << 63) - 1;

int failure_of_closed = 0;

struct Driver : H5FD_t {
  int fd = -1;
  haddr_t eoa = 0, eof = 0;  // end of what HDF5 has allocated; end of the file
  int failure = 0;

  void note_failure() {
    if (failure == 0) failure = errno;
  }
};
Driver& self(H5FD_t* file) { return *static_cast<Driver*>(file); }
const Driver& self(const H5FD_t* file) { return *static_cast<const Driver*>(file); }

H5FD_t* open_file(const char* name, unsigned flags, hid_t, haddr_t) {
  int mode = flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY;
  if (flags & H5F_ACC_TRUNC) mode |= O_TRUNC;
  if (flags & H5F_ACC_CREAT) mode |= O_CREAT;
  if (flags & H5F_ACC_EXCL) mode |= O_EXCL;
  const int fd = ::open(name, mode | O_CLOEXEC, 0666);
  if (fd < 0) return nullptr;
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    return nullptr;
  }
  auto* driver = new (std::nothrow) Driver();
  if (!driver) {
    ::close(fd);
    return nullptr;
  }
  driver->fd = fd;
  driver->eof = haddr_t(status.st_size);
  return driver;
}

herr_t close_file(H5FD_t* file) {
  if (::close(self(file).fd) != 0) self(file).note_failure();
  failure_of_closed = self(file).failure;
  delete &self(file);
  return 0;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_eoa(const H5FD_t* file, H5FD_mem_t) { return self(file).eoa; }
herr_t set_eoa(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  self(file).eoa = address;
  return 0;
}
haddr_t get_eof(const H5FD_t* file, H5FD_mem_t) { return self(file).eof; }
herr_t get_handle(H5FD_t* file, hid_t, void** handle) {
  *handle = &self(file);
  return 0;
}

herr_t read_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t n, void* buffer) {
  auto* to = static_cast<char*>(buffer);
  while (n > 0) {
    const ssize_t got = ::pread(self(file).fd, to, n, off_t(address));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) {  // allocated, but past the end of the file
      std::memset(to, 0, n);
      return 0;
    }
    to += got;
    address += haddr_t(got);
    n -= size_t(got);
  }
  return 0;
}

herr_t write_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t n, const void* buffer) {
  Driver& driver = self(file);
  const auto* from = static_cast<const char*>(buffer);
  while (n > 0 && driver.failure == 0) {
    const ssize_t put = ::pwrite(driver.fd, from, n, off_t(address));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      driver.note_failure();
      break;
    }
    from += put;
    address += haddr_t(put);
    n -= size_t(put);
  }
  driver.eof = std::max(driver.eof, address + n);
  return 0;
}

herr_t truncate_file(H5FD_t* file, hid_t, hbool_t) {
  Driver& driver = self(file);
  if (driver.eoa != driver.eof && driver.failure == 0 &&
      ::ftruncate(driver.fd, off_t(driver.eoa)) != 0)
    driver.note_failure();
  driver.eof = driver.eoa;
  return 0;
}

hid_t driver_id() {
  static const hid_t id = [] {
    H5FD_class_t c{};
#if H5_VERSION_GE(1, 13, 0)
    c.version = H5FD_CLASS_VERSION;
    c.value = H5FD_class_value_t(700);
#endif
    c.name = "lacuna";
    c.maxaddr = kMaxAddress;
    c.fc_degree = H5F_CLOSE_STRONG;
    c.open = open_file;
    c.close = close_file;
    c.query = query;
    c.get_eoa = get_eoa;
    c.set_eoa = set_eoa;
    c.get_eof = get_eof;
    c.get_handle = get_handle;
    c.read = read_bytes;
    c.write = write_bytes;
    c.truncate = truncate_file;
    const H5FD_mem_t map[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(map), std::end(map), c.fl_map);
    return check(H5FDregister(&c), "HDF5 driver");
  }();
  return id;
}

}  // namespace

Handle file_access() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // errors are reported by reason() alone
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "HDF5");
  check(H5Pset_driver(access, driver_id(), nullptr), "HDF5");
  // Lower bound 1.10: every kind of metadata then has a checksum.
  check(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "HDF5");
  check(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "HDF5");
  return access;
}

int write_failure(hid_t file) {
  void* handle = nullptr;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) return 0;
  return static_cast<Driver*>(handle)->failure;
}

int write_failure_of_closed() { return std::exchange(failure_of_closed, 0); }

}  // namespace lacuna::h5
