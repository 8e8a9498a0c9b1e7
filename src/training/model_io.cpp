#include "training/model_io.h"

#include <set>

#include "checkpoint/hugging_face.h"

namespace lacuna {
namespace {

const char* const kEmbedding = "model.transformer.wte.weight";

void check_tensors(const CheckpointReader& reader, const ModelConfig& model) {
  const std::vector<std::string> names = reader.names("model");
  std::set<std::string> unknown(names.begin(), names.end());
  for (const TensorInfo& wanted : hugging_face_tensors(model, DType::f32)) {
    CHECK(unknown.erase(wanted.name) == 1, reader.path(), ": tensor /model/", wanted.name,
          " is missing");
    const Shape shape = reader.shape("model", wanted.name);
    CHECK(shape == wanted.shape, reader.path(), ": /model/", wanted.name, " has shape ", shape,
          "; the checkpoint's config makes it ", wanted.shape);
  }
  CHECK(unknown.empty(), reader.path(), ": /model/", *unknown.begin(),
        " has no place in the model that the checkpoint's config describes");
}

}  // namespace

Config config_of_checkpoint(const CheckpointReader& reader) {
  Config config;
  try {
    config = parse_config(reader.info().config, reader.path());
    CHECK(reader.has("model", kEmbedding), reader.path(), ": tensor /model/", kEmbedding,
          " is missing");
    if (config.model.vocab_size == 0)
      config.model.vocab_size = reader.shape("model", kEmbedding)[0];
    validate(config.model);
  } catch (const UsageError& e) {  // not the user's, but the file's mistake
    const std::string what = e.what();
    fail(what.find(reader.path()) == std::string::npos ? str(reader.path(), ": ", what) : what);
  }
  check_tensors(reader, config.model);
  return config;
}

void read_tensors(const CheckpointReader& reader, const std::string& group,
                  const ModelTensors& tensors, Ops& ops) {
  std::vector<float> staging;
  for (const NamedWeight& w : tensors.named()) {
    const bool master = group == "model" && reader.has("master", w.name);
    const std::string from = master ? "master" : group;
    CHECK(reader.has(from, w.name), reader.path(), ": has no tensor ", w.name, " in group ", from);
    if (w.tensor.place == Place::host && w.tensor.dtype == DType::f32) {
      reader.read(from, w.name, w.tensor);
      continue;
    }
    staging.resize(std::size_t(w.tensor.count()));
    const Tensor host(staging.data(), w.tensor.shape);
    reader.read(from, w.name, host);
    ops.copy(w.tensor, host);
    ops.synchronize();  // the staging buffer is written again
  }
}

std::vector<NamedTensor> host_views(const ModelTensors& tensors, Ops& ops,
                                    std::vector<std::vector<std::byte>>& staging) {
  std::vector<NamedTensor> views;
  for (const NamedWeight& w : tensors.named()) {
    Tensor t = w.tensor;
    if (t.place != Place::host) {
      std::vector<std::byte>& memory = staging.emplace_back(std::size_t(t.bytes()));
      t = Tensor(memory.data(), t.shape, t.dtype);
      ops.copy(t, w.tensor);
    }
    views.push_back({w.name, t});
  }
  ops.synchronize();
  return views;
}

}  // namespace lacuna
