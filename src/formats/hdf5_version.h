#pragma once
#include <string>

namespace lacuna {

/// The HDF5 library that this program runs with: "1.10.8".
std::string hdf5_version();
/// Whether the HDF5 that it was compiled with can do MPI-IO, which Lacuna does not need.
bool hdf5_is_parallel();

}  // namespace lacuna
