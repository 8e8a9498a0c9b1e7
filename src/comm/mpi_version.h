#pragma once
#include <string>

namespace lacuna {

/// The MPI library that this program runs with, without initialising it: "Open MPI v4.1.4".
std::string mpi_version();

}  // namespace lacuna
