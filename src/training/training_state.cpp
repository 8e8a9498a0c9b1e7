#include "training/training_state.h"

#include <cstddef>
#include <vector>

#include "training/model_io.h"

namespace lacuna {

void save_training(const std::filesystem::path& path, const TrainingState& state,
                   const Config& config, const std::string& tokenizer,
                   const std::map<std::string, std::string>& extra, const ModelTensors& weights,
                   const Optimizer& optimizer, Ops& ops) {
  const CheckpointInfo info{.step = state.step,
                            .samples = state.samples,
                            .tokens = state.tokens,
                            .bad_steps = state.bad_steps,
                            .seed = config.train.seed,
                            .config = to_toml(config),
                            .tokenizer = tokenizer,
                            .extra = extra};
  std::vector<std::vector<std::byte>> staging;
  save_checkpoint(path, info,
                  {.model = host_views(weights, ops, staging),
                   .first_moment = host_views(optimizer.first_moment(), ops, staging),
                   .second_moment = host_views(optimizer.second_moment(), ops, staging),
                   .master = optimizer.has_master() ? host_views(optimizer.master(), ops, staging)
                                                    : std::vector<NamedTensor>()});
}

TrainingState load_training(const CheckpointReader& reader, Optimizer& optimizer, Ops& ops) {
  read_tensors(reader, "model", optimizer.master(), ops);
  optimizer.round_master();
  read_tensors(reader, "first_moment", optimizer.first_moment(), ops);
  read_tensors(reader, "second_moment", optimizer.second_moment(), ops);
  const CheckpointInfo& info = reader.info();
  return {.step = info.step,
          .samples = info.samples,
          .tokens = info.tokens,
          .bad_steps = info.bad_steps};
}

}  // namespace lacuna
