#include "training/lora.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "core/log.h"
#include "core/philox.h"
#include "core/text.h"
#include "formats/checksum.h"
#include "formats/damage.h"
#include "formats/safetensors.h"
#include "training/finite.h"

namespace lacuna {
namespace {

constexpr const char *kExtension = ".lora.safetensors", *kChecksum = "crc32c";

/// CRC-32C, in decimal, of names, types, shapes and elements in the order of the names.
std::string checksum_of(const std::map<std::string, Tensor>& tensors) {
  std::uint32_t crc = 0;
  for (const auto& [name, t] : tensors) {
    const std::string head = str(name, ' ', t);
    crc = crc32c(head.c_str(), head.size() + 1, crc);
    crc = crc32c(t.data, std::size_t(t.bytes()), crc);
  }
  return std::to_string(crc);
}

void check_intact(const SafetensorsFile& file) {
  const auto stored = file.metadata().find(kChecksum);
  if (stored == file.metadata().end()) return;
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : file.names()) tensors[name] = file.view(name);
  CHECK_INTACT(stored->second == checksum_of(tensors), file.path(),
               ": damaged: the adapters do not match their checksum");
}

}  // namespace

std::filesystem::path adapter_path(const std::filesystem::path& checkpoint) {
  return std::filesystem::path(checkpoint).replace_extension(kExtension);
}

void verify_adapters(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  if (file.metadata().count(kChecksum) == 0)
    log_warning(path.string() + ": has no checksum, as an earlier version wrote it");
  check_intact(file);
}

void prune_adapters(const std::filesystem::path& folder) {
  const std::string end = kExtension, partial = end + ".partial";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool saved = step_of_name(name, end) >= 0;
    const std::string checkpoint = saved ? name.substr(0, name.size() - end.size()) + ".h5" : "";
    if (step_of_name(name, partial) >= 0 ||
        (saved && !std::filesystem::exists(folder / checkpoint)))
      std::filesystem::remove(entry.path());
  }
}

void check_lora(const Config& config) {
  const LoraConfig& lora = config.lora;
  const auto need = [&](bool holds, const std::string& what) {
    if (!holds) fail_usage(str("lora.rank = ", lora.rank, what));
  };
  need(config.parallel.tensor_parallel == 1 && config.parallel.zero_stage == 0,
       " needs parallel.tensor_parallel = 1 and zero_stage = 0: every rank holds all adapters");
  need(config.compute.dtype == Precision::f32, " needs compute.dtype = \"f32\"");
  need(config.optimizer.moments_dtype == Precision::f32,
       " needs optimizer.moments_dtype = \"f32\": the moments of adapters are small");
  std::vector<std::string> known;
  for (const ModelWeight& w : model_weights(config.model)) {
    if (!w.spec->lora) continue;
    const std::string part = w.spec->llada;
    if (std::find(known.begin(), known.end(), part) == known.end()) known.push_back(part);
    if (std::find(lora.targets.begin(), lora.targets.end(), part) != lora.targets.end())
      need(lora.rank < std::min(w.shape[0], w.shape[1]),
           str(" must be below both extents of ", w.name, ' ', w.shape));
  }
  for (const std::string& name : lora.targets)
    if (std::find(known.begin(), known.end(), name) == known.end())
      fail_usage(str("lora.targets: '", name, "' is no matrix of a block; there are ",
                     listed(known, "and")));
}

Plan Lora::make_plan(const Config& config, const ModelTensors& weights) {
  const std::int64_t rank = config.lora.rank;
  const std::set<std::string> targets(config.lora.targets.begin(), config.lora.targets.end());
  Plan plan;
  const auto factor = [&](const std::string& name, Shape shape) {
    return Factor{plan.add("lora/" + name, shape), plan.add("lora gradients/" + name, shape),
                  plan.add("lora moments/" + name + ".1", shape),
                  plan.add("lora moments/" + name + ".2", shape)};
  };
  for (std::size_t i = 0; i < weights.named().size(); ++i) {
    const NamedWeight& w = weights.named()[i];
    if (!w.spec->lora || !targets.count(w.spec->llada)) continue;
    const std::int64_t out = w.tensor.rows(), in = w.tensor.cols();
    adapters_.push_back({w.name, w.tensor, i, plan.add("lora base/" + w.name, w.tensor.shape),
                         factor(w.name + ".lora_A", {rank, in}),
                         factor(w.name + ".lora_B", {out, rank})});
  }
  return plan;
}

Lora::Lora(Ops& ops, const Config& config, const ModelTensors& weights)
    : ops_(ops),
      optimizer_(config.optimizer),
      scale_(config.lora.alpha > 0 ? config.lora.alpha / double(config.lora.rank) : 1),
      norm_(ops, optimizer_.clip_norm, "lora") {
  check_lora(config);
  // The factors A learn at other constants, which AdamW's loops hold in f32 too.
  const double most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::min(),
               decay = optimizer_.weight_decay, step = optimizer_.learning_rate * scale_;
  if (!(optimizer_.eps / scale_ >= least && optimizer_.eps / scale_ <= most &&
        decay / scale_ <= most && step / (1 - optimizer_.beta1) <= most && scale_ <= most))
    fail_usage(str("lora.alpha = ", config.lora.alpha, " over lora.rank = ", config.lora.rank,
                   " leaves optimizer.eps, weight_decay or learning_rate no f32"));
  const Plan plan = make_plan(config, weights);
  arena_ = std::make_unique<Arena>(ops.memory(), plan);
}

void Lora::keep_base() {
  for (const Adapter& x : adapters_) ops_.copy((*arena_)[x.base], x.weight);
}

void Lora::start(std::uint64_t seed) {
  keep_base();
  std::vector<float> values;
  for (const Adapter& x : adapters_) {
    const Tensor a = (*arena_)[x.a.value];
    const CounterRng rng{seed, Purpose::initial_weights, std::uint64_t{1} << 32 | x.index};
    const double bound = scale_ / std::sqrt(double(a.cols()));
    values.resize(std::size_t(a.count()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = float(bound * (2 * rng.uniform53(std::uint32_t(i)) - 1));
    ops_.copy(a, Tensor(values.data(), a.shape));
    ops_.fill((*arena_)[x.b.value], 0);
    ops_.synchronize();  // the values are written again
  }
}

void Lora::measure(const ModelTensors& gradients) {
  norm_.begin();
  for (const Adapter& x : adapters_) {
    const Tensor dw = gradients.named()[x.index].tensor;
    const Tensor a = (*arena_)[x.a.value], b = (*arena_)[x.b.value];
    const Tensor da = (*arena_)[x.a.gradient], db = (*arena_)[x.b.gradient];
    ops_.linear_forward(db, dw, a);
    ops_.fill(da, 0);
    ops_.linear_backward_weight(da, b, dw);
    norm_.add(da, scale_ * scale_);
    norm_.add(db, 1);
  }
  norm_.end(nullptr);
}

LoraFactors::Matrix Lora::host_matrix(Slot slot, double factor) const {
  const Tensor t = (*arena_)[slot];
  LoraFactors::Matrix matrix{std::vector<float>(std::size_t(t.count())), t.shape};
  ops_.copy(Tensor(matrix.values.data(), t.shape), t);
  ops_.synchronize();
  for (float& x : matrix.values) x = float(factor * double(x));
  return matrix;
}

std::vector<LoraFactors> Lora::factors() const {
  std::vector<LoraFactors> all;
  for (const Adapter& x : adapters_)
    all.push_back({x.name, host_matrix(x.a.value, 1 / scale_), host_matrix(x.b.value, 1),
                   host_matrix(x.a.gradient, scale_), host_matrix(x.b.gradient, 1)});
  return all;
}

void Lora::update(double learning_rate, std::int64_t number) {
  const auto step = [&](Factor Adapter::*factor, double s) {
    std::vector<AdamWPiece> pieces;
    for (const Adapter& x : adapters_) {
      const Factor& f = x.*factor;
      pieces.push_back({.w = (*arena_)[f.value],
                        .m = (*arena_)[f.first],
                        .v = (*arena_)[f.second],
                        .g = (*arena_)[f.gradient]});
    }
    ops_.adamw(pieces, norm_.scale(),
               {.learning_rate = learning_rate * s,
                .beta1 = optimizer_.beta1,
                .beta2 = optimizer_.beta2,
                .eps = optimizer_.eps / s,
                .weight_decay = optimizer_.weight_decay / s,
                .step = number});
  };
  step(&Adapter::a, scale_);
  step(&Adapter::b, 1);
  merge();
}

void Lora::merge() {
  for (const Adapter& x : adapters_) {
    ops_.copy(x.weight, (*arena_)[x.base]);
    ops_.linear_backward_input(x.weight, (*arena_)[x.b.value], (*arena_)[x.a.value],
                               GradMode::accumulate);
  }
}

std::vector<std::pair<std::string, Slot>> Lora::stored() const {
  std::vector<std::pair<std::string, Slot>> all;
  const auto add = [&](const std::string& name, const Factor& factor) {
    all.emplace_back(name, factor.value);
    all.emplace_back(name + ".first_moment", factor.first);
    all.emplace_back(name + ".second_moment", factor.second);
  };
  for (const Adapter& x : adapters_) {
    add(x.name + ".lora_A", x.a);
    add(x.name + ".lora_B", x.b);
  }
  return all;
}

void Lora::save(const std::filesystem::path& file) const {
  std::vector<std::vector<float>> memory;
  std::vector<NamedTensor> tensors;
  for (const auto& [name, slot] : stored()) {
    const Tensor t = (*arena_)[slot];
    memory.emplace_back(std::size_t(t.count()));
    const Tensor host(memory.back().data(), t.shape);
    ops_.copy(host, t);
    tensors.push_back({name, host});
  }
  ops_.synchronize();
  std::map<std::string, Tensor> by_name;
  for (const NamedTensor& t : tensors) {
    CHECK(all_finite(t.tensor), file.string(), ": not saved: ", t.name, kHoldsNonFinite);
    by_name[t.name] = t.tensor;
  }
  write_safetensors(
      file, tensors,
      {{"format", "lacuna-lora"}, {"scale", str(scale_)}, {kChecksum, checksum_of(by_name)}});
}

void Lora::load(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  check_intact(file);
  keep_base();
  for (const auto& [name, slot] : stored()) {
    const Tensor t = (*arena_)[slot];
    CHECK(file.has(name), path.string(), ": has no tensor ", name,
          "; lora.targets must stay as they were");
    CHECK(file.shape(name) == t.shape && file.dtype(name) == DType::f32, path.string(), ": ", name,
          " is ", file.dtype(name), ' ', file.shape(name), "; lora.rank makes it f32 ", t.shape);
    ops_.copy(t, file.view(name));
  }
  ops_.synchronize();
  merge();
}

std::int64_t Lora::parameters() const {
  std::int64_t sum = 0;
  for (const Adapter& x : adapters_)
    sum += (*arena_)[x.a.value].count() + (*arena_)[x.b.value].count();
  return sum;
}

}  // namespace lacuna
