#include "app/model_on_ranks.h"

#include "core/check.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {
namespace {

// A rank may wait for another's forward pass, which of a large model on a CPU takes minutes.
constexpr double kTimeoutSeconds = 3600;

/// Names the option in messages of what training calls by a key.
template <class F>
auto naming_option(F&& f) {
  try {
    return f();
  } catch (const UsageError& e) {
    const std::string message = e.what(), key = "parallel.tensor_parallel = ";
    if (!message.starts_with(key)) throw;
    fail_usage("--tensor-parallel " + message.substr(key.size()));
  }
}

}  // namespace

void add_tensor_parallel_option(Command command, std::int64_t& ranks) {
  command
      .add_option("--tensor-parallel", ranks,
                  "under mpirun: ranks of a tensor parallel (TP) group, which holds one copy of "
                  "the model; texts are distributed over the "
                  "copies (docs/multi-node.md)")
      .between(1, 1 << 16)
      .show_default();
}

ModelOnRanks load_on_ranks(const MpiSession& mpi, ModelSource source, const BackendOptions& backend,
                           std::int64_t tensor_parallel, const std::string& same) {
  return naming_option([&] {
    (void)ShardDims(source.config, {0, int(tensor_parallel)});
    DeviceRanks ranks =
        make_device_ranks(mpi, backend.device, backend.device_options(),
                          {.tensor_parallel = tensor_parallel, .timeout_seconds = kTimeoutSeconds},
                          same, "the arguments");
    const Communicator& tensor = ranks.mesh->tensor();
    return ModelOnRanks{LoadedModel(std::move(source), std::move(ranks.ops), backend.type(),
                                    {tensor.rank(), tensor.size()}),
                        std::move(ranks.mesh)};
  });
}

}  // namespace lacuna
