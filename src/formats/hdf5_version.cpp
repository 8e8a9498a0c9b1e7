#include "formats/hdf5_version.h"

#include <hdf5.h>

#include "core/check.h"

namespace lacuna {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  CHECK(H5get_libversion(&major, &minor, &release) >= 0, "HDF5 does not report its version");
  return str(major, '.', minor, '.', release);
}

bool hdf5_is_parallel() {
#if defined(H5_HAVE_PARALLEL)
  return true;
#else
  return false;
#endif
}

}  // namespace lacuna
