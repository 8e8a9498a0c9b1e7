#pragma once
#include <memory>

#include "comm/world.h"

namespace lacuna::testing {

/// The ranks this test program was started on (tests/support/mpi_main.cpp).
MpiSession& session();

/// All of them; a collective that is stuck ends the program.
inline std::unique_ptr<Communicator> world(CommunicationOptions options = {}, Ops* ops = nullptr) {
  options.timeout_seconds = 60;
  return world_communicator(session(), ops, options);
}

}  // namespace lacuna::testing
