#pragma once
// For the .cpp files of this folder alone: shows MPI's own interface.
#define OMPI_SKIP_MPICXX 1  // the C interface alone
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <string>

#include "core/check.h"

namespace lacuna::mpi {

/// Throws Error(what: MPI's reason) when an MPI call did not succeed.
void check(int code, const std::string& what);

/// A duplicate of `comm` with a space of messages of its own, whose errors are returned and not
/// fatal. Collective.
MPI_Comm duplicate(MPI_Comm comm);

}  // namespace lacuna::mpi
