#include "training/training_state.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "model_io/tensor_io.h"
#include "training/finite.h"

namespace lacuna {

void save_training(const std::filesystem::path& path, const TrainingState& state,
                   const Config& config, const std::string& tokenizer,
                   const std::map<std::string, std::string>& extra, const ModelTensors& weights,
                   const Optimizer* optimizer, const std::vector<FlatRange>& written,
                   ProcessGroup& team, Ops& ops) {
  const CheckpointInfo info{.step = state.step,
                            .samples = state.samples,
                            .tokens = state.tokens,
                            .bad_steps = state.bad_steps,
                            .seed = config.train.seed,
                            .config = to_toml(config),
                            .tokenizer = tokenizer,
                            .extra = extra};
  std::vector<std::pair<const char*, std::vector<WeightPiece>>> groups = {
      {"model", pieces_within(weights, written)}};
  if (optimizer) {
    groups.emplace_back("first_moment", optimizer->first_moment().pieces_within(written));
    groups.emplace_back("second_moment", optimizer->second_moment().pieces_within(written));
    if (optimizer->has_master())
      groups.emplace_back("master", optimizer->master().pieces_within(written));
  }
  std::vector<StoredTensor> tensors;
  for (const auto& [group, pieces] : groups)
    for (const NamedWeight& w : weights.named())
      tensors.push_back(
          {group, w.name, w.whole, group == std::string("model") ? w.tensor.dtype : DType::f32});

  CheckpointWriter writer(path, info, tensors, team);
  std::string not_finite;  // a tensor of which this rank wrote such a part
  std::size_t first = 0;   // tensor of the group
  for (const auto& [group, pieces] : groups) {
    for (const WeightPiece& piece : pieces) {
      const NamedWeight& w = weights.named()[piece.weight];
      if (w.replicated() && weights.share().index > 0) continue;
      for_host_boxes(w, piece, ops, [&](std::int64_t row, std::int64_t col, Tensor box) {
        if (!all_finite(box)) not_finite = group + ("/" + w.name);
        writer.write(first + piece.weight, row, col, box);
      });
    }
    first += weights.named().size();
  }
  for (const std::string& found : team.gather(not_finite))
    CHECK(found.empty(), path.string(), ": not saved: ", found, kHoldsNonFinite);
  writer.commit();
}

TrainingState load_training(const CheckpointReader& reader, const ModelTensors& weights,
                            Optimizer& optimizer, Ops& ops) {
  read_pieces(reader, "model", weights, optimizer.master().pieces(), ops);
  optimizer.cast_master_weights();
  read_pieces(reader, "first_moment", weights, optimizer.first_moment().pieces(), ops);
  read_pieces(reader, "second_moment", weights, optimizer.second_moment().pieces(), ops);
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
