#include "comm/mpi_session.h"

#include <mpi.h>

#include <cstdlib>
#include <exception>

#include "core/check.h"
#include "core/log.h"

namespace lacuna {
namespace {

bool started_by_a_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name)) return true;
  return false;
}

}  // namespace

MpiSession::MpiSession() {
  if (!started_by_a_launcher()) return;
  int provided = 0;
  CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) == MPI_SUCCESS,
        "MPI could not be initialised");
  initialised_ = true;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  set_log_rank(rank_, size_);
}

MpiSession::~MpiSession() {
  if (!initialised_) return;
  // Finalize waits for the other ranks; after an error here they may never come.
  if (std::uncaught_exceptions() > 0 && size_ > 1)
    MPI_Abort(MPI_COMM_WORLD, 1);
  else
    MPI_Finalize();
}

}  // namespace lacuna
