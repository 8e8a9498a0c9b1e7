#include "training/trace.h"

#include <cstddef>
#include <string>
#include <utility>

#include "checkpoint/shared_file.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

template <class T>
Tensor matrix(const std::vector<T>& v, std::int64_t rows, std::int64_t cols) {
  return Tensor(const_cast<T*>(v.data()), {rows, cols});  // a Tensor is a view of either kind
}

}  // namespace

void Trace::add(const NoisyBatch& batch) {
  const std::size_t from = clean_.size();
  sequences_ += batch.sequences;
  length_ = batch.length;
  clean_.insert(clean_.end(), batch.tokens.begin(), batch.tokens.end());
  masked_.insert(masked_.end(), batch.masked.begin(), batch.masked.end());
  weight_.resize(clean_.size());
  for (const float p : batch.p) p_mask_.insert(p_mask_.end(), std::size_t(batch.length), p);
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const std::size_t token = from + std::size_t(batch.rows[m] + batch.shift);
    clean_[token] = batch.targets[m];
    weight_[token] = batch.weights[m];
  }
}

void Trace::write(const std::filesystem::path& path, const Config& config, std::int64_t step,
                  double loss, double grad_norm, const ModelTensors& gradients,
                  const ModelTensors& weights, const Share& share, Team& team, Ops& ops) const {
  const SharedFile::Attributes attributes = {{"format", "lacuna-trace"},
                                             {"version", std::int64_t{1}},
                                             {"step", step},
                                             {"objective", word_of(config.train.objective)},
                                             {"mask_token_id", config.model.mask_token},
                                             {"config", to_toml(config)}};
  const Shape batch{config.train.batch_size, length_};
  std::vector<SharedFile::Dataset> datasets = {
      {"/clean", batch, DType::i32},  {"/masked", batch, DType::u8},
      {"/p_mask", batch, DType::f32}, {"/weight", batch, DType::f64},
      {"/loss", {}, DType::f64},      {"/grad_norm", {}, DType::f64}};
  const std::size_t first_tensor = datasets.size();
  for (const auto& [group, tensors] : {std::pair{"/gradients/", &gradients}, {"/model/", &weights}})
    for (const NamedWeight& w : tensors->named())
      datasets.push_back({group + w.name, w.whole, w.tensor.dtype});

  SharedFile file(path, attributes, datasets, team);
  if (weights.share().index == 0) {  // those who share a model have the same sequences
    file.write(0, share.first, 0, matrix(clean_, sequences_, length_));
    file.write(1, share.first, 0, matrix(masked_, sequences_, length_));
    file.write(2, share.first, 0, matrix(p_mask_, sequences_, length_));
    file.write(3, share.first, 0, matrix(weight_, sequences_, length_));
  }
  if (team.rank() == 0) {
    file.write(4, 0, 0, Tensor(&loss, {}));
    file.write(5, 0, 0, Tensor(&grad_norm, {}));
  }
  std::size_t number = first_tensor;
  for (const ModelTensors* tensors : {&gradients, &weights}) {
    for (const WeightPiece& piece : pieces_within(*tensors, share.written)) {
      const NamedWeight& w = tensors->named()[piece.weight];
      if (w.replicated() && weights.share().index > 0) continue;
      for_host_boxes(w, piece, ops, [&](std::int64_t row, std::int64_t col, Tensor box) {
        file.write(number + piece.weight, row, col, box);
      });
    }
    number += tensors->named().size();
  }
  file.commit();
}

}  // namespace lacuna
