#include "training/trace.h"

#include <cstddef>
#include <string>

#include "checkpoint/hdf5.h"
#include "core/atomic_file.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

template <class T>
Tensor matrix(const std::vector<T>& v, std::int64_t rows, std::int64_t cols) {
  return Tensor(const_cast<T*>(v.data()), {rows, cols});  // a Tensor is a view of either kind
}

void write_group(h5::File& file, const std::string& group, const ModelTensors& tensors, Ops& ops) {
  std::vector<std::vector<std::byte>> staging;
  for (const NamedTensor& t : host_views(tensors, ops, staging))
    file.write("/" + group + "/" + t.name, t.tensor);
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
                  const ModelTensors& weights, Ops& ops) const {
  AtomicFile atomic(path);
  h5::File file = h5::File::create(atomic.partial());
  file.set_attribute("format", "lacuna-trace");
  file.set_attribute("version", std::int64_t{1});
  file.set_attribute("step", step);
  file.set_attribute("objective", word_of(config.train.objective));
  file.set_attribute("mask_token_id", config.model.mask_token);
  file.set_attribute("config", to_toml(config));
  file.write("/clean", matrix(clean_, sequences_, length_));
  file.write("/masked", matrix(masked_, sequences_, length_));
  file.write("/p_mask", matrix(p_mask_, sequences_, length_));
  file.write("/weight", matrix(weight_, sequences_, length_));
  file.write("/loss", Tensor(&loss, {}));
  file.write("/grad_norm", Tensor(&grad_norm, {}));
  write_group(file, "gradients", gradients, ops);
  write_group(file, "model", weights, ops);
  file.close();
  atomic.commit();
}

}  // namespace lacuna
