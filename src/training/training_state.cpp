#include "training/training_state.h"

#include <vector>

#include "model_io/tensor_io.h"

namespace lacuna {

CheckpointInfo checkpoint_info(const TrainingState& state, const Config& config,
                               const std::string& tokenizer,
                               const std::map<std::string, std::string>& extra) {
  return {.step = state.step,
          .samples = state.samples,
          .tokens = state.tokens,
          .bad_steps = state.bad_steps,
          .seed = config.train.seed,
          .config = to_toml(config),
          .tokenizer = tokenizer,
          .extra = extra};
}

std::vector<SavedGroup> saved_groups(const Optimizer& optimizer,
                                     const std::vector<FlatRange>& written) {
  std::vector<SavedGroup> groups = {
      {"model", optimizer.weights().dtype(), optimizer.weights().pieces_within(written), {}}};
  const auto add = [&](const char* name, const OptimizerShard& states) {
    groups.push_back({name, states.dtype(), states.pieces_within(written), {}});
  };
  add("first_moment", optimizer.first_moment());
  add("second_moment", optimizer.second_moment());
  groups.back().has = [&optimizer](const NamedWeight& w) { return optimizer.has_second_moment(w); };
  if (optimizer.rounds_weights()) add("master", optimizer.master());
  if (optimizer.average()) add("ema", *optimizer.average());
  return groups;
}

TrainingState load_training(const CheckpointReader& reader, const ModelTensors& weights,
                            Optimizer& optimizer) {
  Ops& states = optimizer.state_ops();
  read_pieces(reader, "model", weights, optimizer.master().pieces(), states);
  optimizer.cast_master_weights();
  read_pieces(reader, "first_moment", weights, optimizer.first_moment().pieces(), states);
  read_pieces(reader, "second_moment", weights, optimizer.second_moment().pieces(), states);
  if (optimizer.average() && !reader.names("ema").empty())
    read_pieces(reader, "ema", weights, optimizer.average()->pieces(), states);
  else
    optimizer.begin_average();
  return load_state(reader);
}

TrainingState load_state(const CheckpointReader& reader) {
  const CheckpointInfo& info = reader.info();
  return {.step = info.step,
          .samples = info.samples,
          .tokens = info.tokens,
          .bad_steps = info.bad_steps};
}

}  // namespace lacuna
