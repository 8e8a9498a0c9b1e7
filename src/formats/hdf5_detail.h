#pragma once
// For the .cpp files behind formats/hdf5.h alone: this one shows HDF5's own interface.
#include <hdf5.h>

#include <cstring>
#include <string>
#include <utility>

#include "core/tensor.h"

namespace lacuna::h5 {

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

/// Why HDF5's last call failed, in its own words, and forgets it.
std::string reason();

/// An HDF5 id and the call that closes it.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  /// Throws Error(what: HDF5's reason) for a negative id.
  Handle(hid_t id, Close close, const std::string& what) : id_(id), close_(close) {
    if (id < 0) fail(what + ": " + reason());
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

/// Throws Error(what: HDF5's reason) when a call's result is negative.
template <class Result>
Result check(Result result, const std::string& what) {
  if (result < 0) fail(what + ": " + reason());
  return result;
}

/// How a dtype is stored, and lies in memory: the same, little-endian.
hid_t type_of(DType dtype);

/// How files are accessed: by a driver of our own, in the 1.10 format.
///
/// HDF5 cannot give up on a file: when a write fails (a full disk), the dirty metadata stay in its
/// caches, closing fails for ever, and 1.10 crashes at exit. So the driver notes the first failed
/// write and lets HDF5 believe in this and the later ones; who writes asks for the failure.
Handle file_access();
/// errno of the first write to `file` that failed, or 0.
int write_failure(hid_t file);
/// The same for the file closed last, its closing included.
int write_failure_of_closed();

/// Makes a call that writes to `file`. A write that failed is what is told then, also when HDF5
/// stumbles over its consequences first.
template <class Call>
void checked_write(hid_t file, const std::string& what, Call&& call) {
  const auto check_failure = [&] {
    if (const int failure = write_failure(file); failure != 0)
      fail(what + ": cannot write: " + std::strerror(failure));
  };
  try {
    call();
  } catch (const Error&) {
    check_failure();
    throw;
  }
  check_failure();
}

}  // namespace lacuna::h5
