#include "core/text.h"
#include "training/lora.h"
#include "training/updater.h"

namespace lacuna {
namespace {

class LoraUpdater final : public Updater {
 public:
  explicit LoraUpdater(const UpdaterContext& context)
      : context_(context),
        weights_(context.replica.weights),
        lora_(context.ops, context.config, weights_) {}

  std::vector<WeightPiece> first_weights() const override {
    return pieces_within(weights_, {{0, weights_.flat().count()}});
  }
  Ops& first_weights_ops() const override { return context_.ops; }
  void start(std::uint64_t seed) override { lora_.start(seed); }
  /// The checkpoint holds the sums W0 + B A; adapters belong on the W0 that they were begun on.
  TrainingState load(const CheckpointReader& reader,
                     const std::function<void()>& begin_again) override {
    begin_again();
    lora_.load(adapter_path(reader.path()));
    return load_state(reader);
  }

  void measure() override { lora_.measure(context_.replica.gradients); }
  double gradient_norm() const override { return lora_.gradient_norm(); }
  void update(double learning_rate, std::int64_t number) override {
    lora_.update(learning_rate, number);
  }

  std::vector<SavedGroup> saved() const override {
    return saved_groups(weights_, nullptr, context_.replica.parts);
  }
  void save_companion(const std::filesystem::path& checkpoint) const override {
    lora_.save(adapter_path(checkpoint));
  }
  void prune(const std::filesystem::path& checkpoints) const override {
    prune_adapters(checkpoints);
  }

  std::string description() const override {
    return str("LoRA rank ", context_.config.lora.rank, ": ", with_commas(lora_.parameters()),
               " trainable parameters");
  }
  std::int64_t bytes() const override { return lora_.bytes(); }
  TraceAdditions trace() const override {
    TraceAdditions additions{.attributes = {{"lora_scale", lora_.scale()}}, .tensors = {}};
    const auto add = [&](const std::string& group, const std::string& name,
                         LoraFactors::Matrix& matrix) {
      additions.tensors.push_back({str('/', group, '/', name), matrix.shape, {}});
      additions.tensors.back().values = std::move(matrix.values);
    };
    for (LoraFactors& x : lora_.factors()) {
      add("lora", x.weight + ".lora_A", x.a);
      add("lora", x.weight + ".lora_B", x.b);
      add("lora_gradients", x.weight + ".lora_A", x.a_gradient);
      add("lora_gradients", x.weight + ".lora_B", x.b_gradient);
    }
    return additions;
  }

 private:
  const UpdaterContext context_;
  const ModelTensors& weights_;
  Lora lora_;
};

}  // namespace

UpdaterKind lora_adapters() {
  return {.make = [](const UpdaterContext& context) -> std::unique_ptr<Updater> {
            return std::make_unique<LoraUpdater>(context);
          },
          .verify =
              [](const std::filesystem::path& checkpoint) {
                verify_adapters(adapter_path(checkpoint));
              }};
}

}  // namespace lacuna
