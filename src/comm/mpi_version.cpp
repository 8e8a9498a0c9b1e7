#include "comm/mpi_version.h"

#include <mpi.h>

#include "core/text.h"

namespace lacuna {

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // may be called before MPI_Init
  // Open MPI goes on with the package and the build, MPICH with lines of them.
  const std::string version(text);
  return printable_line(trimmed(version.substr(0, version.find_first_of(",\n"))));
}

}  // namespace lacuna
