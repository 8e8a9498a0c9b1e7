#pragma once
#include <memory>
#include <string>

#include "app/backend_options.h"
#include "app/command_line.h"
#include "app/device_ranks.h"
#include "model_io/loaded_model.h"

namespace lacuna {

/// A model that the ranks of a job use: a copy for each data rank, of which each tensor rank has a
/// shard.
struct ModelOnRanks {
  LoadedModel model;
  std::unique_ptr<DeviceMesh> mesh;  // after the model's device, which it uses

  Communicator& tensor() const { return mesh->tensor(); }
  Communicator& data() const { return mesh->data(); }
  bool is_first_rank() const { return mesh->world().rank() == 0; }
};

/// --tensor-parallel.
void add_tensor_parallel_option(Command command, std::int64_t& ranks);

/// Loads the model on all ranks of the session. `same` as in make_device_ranks(): the arguments of
/// the command. Collective. UsageError for a model that --tensor-parallel does not divide; other
/// errors as BackendOptions::device_options(), make_device_ranks() and load_model().
ModelOnRanks load_on_ranks(const MpiSession& mpi, ModelSource source, const BackendOptions& backend,
                           std::int64_t tensor_parallel, const std::string& same);

}  // namespace lacuna
