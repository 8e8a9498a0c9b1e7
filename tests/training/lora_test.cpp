// Low-rank adaptation: what is trained beside frozen weights, saved, and made of both.
#include "training/lora.h"

#include <cmath>
#include <filesystem>

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/stored_adapter.h"
#include "core/block_formats.h"
#include "core/half.h"
#include "data/sft_examples.h"
#include "diffusion/objective.h"
#include "diffusion/responses.h"
#include "formats/safetensors.h"
#include "model_io/loaded_model.h"
#include "tests/training/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Lora : public TinyRun, public ::testing::Test {
 protected:
  Lora() {
    write_questions(config.data.train, 50);
    write_questions(config.data.validation, 30);
    config.data.sequence_length = 16;
    config.model.mask_token = kMask;
    config.model.eos_token = kEnd;
    config.model.hidden_size = config.model.intermediate_size = 32;  // whole blocks of q8_0
    config.train.batch_size = 6;
    config.train.micro_batch_size = 3;
    config.train.eval_every = 0;
    config.train.checkpoint_every = 10;
    Config base = in("base");
    base.train.steps = 10;
    sft(base).run();
    config.train.init = base.train.output;
    config.train.steps = 20;
    config.lora.rank = 4;
    config.lora.alpha = 8;
    config.lora.targets = {"q_proj", "v_proj", "up_proj"};
  }
  Trainer sft(const Config& c, bool resume = false) {
    return Trainer(c, ops, sft_options(c, resume));
  }
  std::string refusal(const Config& c) {
    return error_of<UsageError>([&] { sft(c); });
  }

  static std::vector<float> values(const ModelReader& reader, const std::string& name) {
    std::vector<float> all(std::size_t(reader.shape("model", name).count()));
    reader.read("model", name, Tensor(all.data(), reader.shape("model", name)));
    return all;
  }
  /// A fixed loss of a model.
  double loss_of(const ModelWeights& weights, const ModelConfig& model) {
    const TokenFile file(config.data.validation);
    const SftExamples examples(file, 16, 0);
    ObjectiveRunner runner(ops, model, weights, {64, 16, 64, false});
    const ResponseExample one{examples.at(3), 0, 3};
    return runner.loss(make_response_batch(noise_options(config), std::vector{one}, -1, 8));
  }
};

TEST_F(Lora, BeginsAsWhatItAdapts) {
  Trainer trainer = sft(config);
  const auto base = open_model(resolve_checkpoint(config.train.init));
  for (const NamedWeight& w : trainer.weights().named()) {
    const bool is_a = w.spec->role == WeightRole::lora_a;
    const double bound = 1 / std::sqrt(double(w.tensor.cols()));
    double largest = 0;
    for (std::int64_t i = 0; i < w.tensor.count(); ++i)
      largest = std::max(largest, std::abs(double(w.tensor.as<float>()[i])));
    EXPECT_LE(largest, is_a ? bound : 0) << w.name;
    EXPECT_GE(largest, is_a ? 0.8 * bound : 0) << w.name;
  }
  // 2 blocks of three matrices [32,32].
  EXPECT_EQ(trainer.weights().parameters(), 2 * 3 * 4 * (32 + 32));
  Config full = in("full");
  full.lora.rank = 0;
  EXPECT_EQ(loss_of(trainer.model(), trainer.config().model),
            loss_of(sft(full).model(), trainer.config().model));
}

TEST_F(Lora, LearnsAndResumesBitForBit) {
  config.optimizer.learning_rate = 3e-2;
  Config half = in("half");
  Trainer whole = sft(config);
  const std::vector<float> frozen(whole.model().head.as<float>(),
                                  whole.model().head.as<float>() + whole.model().head.count());
  const double before = loss_of(whole.model(), whole.config().model);
  whole.run();
  EXPECT_LT(loss_of(whole.model(), whole.config().model), before);
  EXPECT_EQ(std::memcmp(frozen.data(), whole.model().head.data, frozen.size() * 4), 0);
  {
    Trainer first = sft(half);
    first.run([&] { return first.state().step == 10; });
  }
  Trainer second = sft(half, true);
  EXPECT_EQ(second.state().step, 10);
  second.run();
  EXPECT_TRUE(same_bits(whole.weights(), second.weights()));
}

// A checkpoint of adapters is as good as one of the model that they make.
TEST_F(Lora, ACheckpointIsTheMergedModel) {
  for (const BaseDtype held : {BaseDtype::automatic, BaseDtype::bf16, BaseDtype::q8_0}) {
    SCOPED_TRACE(word_of(held));
    Config run = in(str("run-", word_of(held)));
    run.lora.base_dtype = held;
    Trainer trainer = sft(run);
    trainer.run();
    const std::string path = *newest_valid_checkpoint(run.train.output);
    // 20 times smaller than the model; with moments.
    const auto stored = open_stored(path), merged = open_model(path),
               base = open_model(resolve_checkpoint(run.train.init));
    EXPECT_TRUE(holds_adapters(*stored));
    EXPECT_EQ(stored->names("first_moment"), stored->names("model"));
    EXPECT_FALSE(holds_adapters(*merged));
    EXPECT_EQ(merged->names("model"), base->names("model"));
    EXPECT_TRUE(merged->names("first_moment").empty());
    EXPECT_EQ(config_of_checkpoint(*merged).lora.rank, 4);
    for (const ModelWeight& w : model_weights(trainer.config().model)) {
      std::vector<float> expected = values(*base, w.name);
      const bool matrix = w.block >= 0 && w.shape.rank == 2;
      if (matrix && held != BaseDtype::automatic) {
        const MatrixFormat format = *format_named(word_of(held));
        std::vector<std::uint8_t> bytes(std::size_t(w.shape[0] * bytes_of_row(format, w.shape[1])));
        round_to(format, expected.data(), w.shape.count(), bytes.data());
        dequantise(format, bytes.data(), w.shape.count(), expected.data());
      }
      const std::string stem = w.name.substr(0, w.name.size() - 6);
      if (stored->has("model", stem + "lora_A.weight")) {
        const auto a = values(*stored, stem + "lora_A.weight"),
                   b = values(*stored, stem + "lora_B.weight");
        for (std::int64_t o = 0; o < w.shape[0]; ++o)
          for (std::int64_t i = 0; i < w.shape[1]; ++i)
            for (std::int64_t r = 0; r < 4; ++r)
              expected[std::size_t(o * w.shape[1] + i)] +=
                  2 * b[std::size_t(o * 4 + r)] * a[std::size_t(r * w.shape[1] + i)];
      }
      const std::vector<float> actual = values(*merged, w.name);
      for (std::size_t i = 0; i < actual.size(); ++i)
        ASSERT_NEAR(actual[i], expected[i], 1e-6) << w.name << ' ' << i;
      if (!matrix) continue;
      std::vector<float> box(2 * 3);  // and any part of it
      merged->read_box("model", w.name, 5, 7, Tensor(box.data(), {2, 3}));
      for (std::size_t i = 0; i < 6; ++i)
        EXPECT_EQ(box[i], actual[(5 + i / 3) * std::size_t(w.shape[1]) + 7 + i % 3]);
    }
    // What it gives in use.
    Config further = in(str("further-", word_of(held)));
    further.train.init = run.train.output;
    further.lora.rank = 0;
    const double loss = loss_of(trainer.model(), trainer.config().model);
    // Sampling reads q8_0 with rows rounded to 8 bits; merged weights are f32.
    EXPECT_NEAR(loss_of(sft(further).model(), trainer.config().model), loss,
                (held == BaseDtype::q8_0 ? 1e-2 : 1e-5) * loss);
  }
}

// What PEFT gets, and the way back; scripts in Python are compared with PEFT itself.
TEST_F(Lora, PeftFoldersAreReadAsTheyAreWritten) {
  for (const bool llama_names : {false, true}) {
    SCOPED_TRACE(llama_names);
    Config run = in(str("run-", llama_names));
    run.lora.targets = {"q_proj", "attn_out", "ff_out"};
    if (llama_names) {  // Qwen2's
      config.model.attention = run.model.attention = Attention::causal;
      config.model.qkv_bias = run.model.qkv_bias = true;
      config.train.objective = run.train.objective = Objective::autoregressive;
      Config base = config;
      base.train.init.clear();
      base.lora.rank = 0;
      base.train.steps = 2;
      base.train.output = run.train.init = folder / "causal";
      sft(base).run();
    }
    sft(run).run();
    const std::string checkpoint = *newest_valid_checkpoint(run.train.output);
    const std::filesystem::path peft = folder / str("peft-", llama_names);
    const PeftExport written = export_peft(checkpoint, peft, std::nullopt);
    EXPECT_EQ(written.rank, 4);
    EXPECT_EQ(written.parameters, 2 * 3 * 4 * (32 + 32));
    const auto json = nlohmann::json::parse(read_file(peft / "adapter_config.json"));
    EXPECT_EQ(json["peft_type"], "LORA");
    EXPECT_EQ(json["r"], 4);
    EXPECT_EQ(json["lora_alpha"], 8);
    if (llama_names)
      EXPECT_EQ(json["target_modules"],
                (std::vector<std::string>{"q_proj", "o_proj", "down_proj"}));
    else  // ff_out is also the head's name
      EXPECT_EQ(json["target_modules"], ".*\\.blocks\\.[0-9]+\\.(q_proj|attn_out|ff_out)");
    EXPECT_TRUE(
        SafetensorsFile(peft / "adapter_model.safetensors")
            .has(llama_names
                     ? "base_model.model.model.layers.1.self_attn.o_proj.lora_B.weight"
                     : "base_model.model.model.transformer.blocks.1.attn_out.lora_B.weight"));

    const auto merged = open_model(checkpoint);
    const ModelConfig model = config_of_checkpoint(*merged).model;
    const StoredAdapter adapter = open_adapter(peft.string(), model),
                        same = open_adapter(run.train.output, model);
    EXPECT_EQ(adapter.lora.scale(), same.lora.scale());
    EXPECT_EQ(adapter.lora.targets, run.lora.targets);
    for (const ModelWeight& w : adapter_weights(model, adapter.lora))
      EXPECT_EQ(values(*adapter.reader, w.name), values(*same.reader, w.name)) << w.name;
    // Merged into the base, and beside it.
    const auto into = open_model(resolve_checkpoint(run.train.init), peft.string());
    for (const ModelWeight& w : model_weights(model))
      EXPECT_EQ(values(*into, w.name), values(*merged, w.name)) << w.name;
    const LoadedModel beside(
        ModelSource(run.train.init, {"one=" + peft.string(), run.train.output}),
        std::make_unique<CpuOps>(1), DType::f32);
    const LoadedModel whole(ModelSource(run.train.output), std::make_unique<CpuOps>(1), DType::f32);
    EXPECT_EQ(beside.source.adapters[0].name, "one");
    const double expected = loss_of(whole.weights, model);
    EXPECT_NEAR(loss_of(beside.weights, model), expected, 1e-5 * expected);
    EXPECT_EQ(loss_of(beside.with(1), model), loss_of(beside.weights, model));
    EXPECT_NE(loss_of(beside.base, model), loss_of(beside.weights, model));
    EXPECT_TRUE(contains(error_of<UsageError>([&] {
                           ModelSource(run.train.init, {run.train.output, run.train.output});
                         }),
                         "two are called 'run-"));

    // What another program may have written.
    const auto with = [&](const char* key, const nlohmann::json& value) {
      auto changed = json;
      changed[key] = value;
      write_file(peft / "adapter_config.json", changed.dump());
      return error_of([&] { (void)open_adapter(peft.string(), model); });
    };
    EXPECT_EQ(with("modules_to_save", nlohmann::json::array()), "");
    EXPECT_TRUE(contains(with("peft_type", "IA3"), "adapter_config.json: peft_type is \"IA3\""));
    EXPECT_TRUE(contains(with("use_dora", true), "use_dora = true is not supported"));
    EXPECT_TRUE(contains(with("rank_pattern", {{"q_proj", 2}}), "rank_pattern = "));
    EXPECT_TRUE(contains(with("bias", "all"), "bias = \"all\""));
    EXPECT_TRUE(contains(with("r", 5), "q_proj.lora_A.weight is [4,32]; the model and r = 5"));
    EXPECT_TRUE(contains(with("r", 0), "r is 0"));
    EXPECT_EQ(with("use_rslora", true), "");
    EXPECT_EQ(open_adapter(peft.string(), model).lora.scale(), 4);  // 8 / sqrt(4)
  }
}

TEST_F(Lora, WhatIsNoAdapterOfTheModel) {
  sft(config).run();
  const auto base = open_model(resolve_checkpoint(config.train.init));
  ModelConfig model = config_of_checkpoint(*base).model;
  EXPECT_TRUE(contains(error_of([&] { (void)open_adapter(config.train.init, model); }),
                       "holds no adapters"));
  EXPECT_TRUE(contains(
      error_of([&] { export_peft(*newest_valid_checkpoint(config.train.init), folder / "x", {}); }),
      "only a checkpoint of LoRA"));
  model.hidden_size = 64;
  EXPECT_TRUE(contains(error_of([&] { (void)open_adapter(config.train.output, model); }),
                       "holds adapters of another model: "));
  // A tensor more, a block less.
  const std::filesystem::path peft = folder / "peft";
  export_peft(*newest_valid_checkpoint(config.train.output), peft, DType::bf16);
  model.hidden_size = 32;
  model.num_layers = 1;
  EXPECT_TRUE(contains(error_of([&] { (void)open_adapter(peft.string(), model); }),
                       ".blocks.1.q_proj.lora_A.weight adapts no matrix of the model's blocks"));
  model.num_layers = 3;
  EXPECT_TRUE(contains(error_of([&] { (void)open_adapter(peft.string(), model); }),
                       "has 4 tensors for q_proj of 3 blocks"));
}

TEST_F(Lora, AdaptersOfAdaptedWeights) {
  sft(config).run();
  Config second = in("second");
  second.train.init = config.train.output;
  second.lora.targets = {"ff_out"};
  Trainer trainer = sft(second);
  trainer.run();
  const auto first = open_model(resolve_checkpoint(config.train.output)),
             both = open_model(resolve_checkpoint(second.train.output));
  const std::string query = "model.transformer.blocks.0.q_proj.weight",
                    out = "model.transformer.blocks.0.ff_out.weight";
  EXPECT_EQ(values(*both, query), values(*first, query));
  EXPECT_NE(values(*both, out), values(*first, out));
}

// A checkpoint of adapters names what they were trained beside, the average too.
TEST_F(Lora, AdaptsTheAverageOfTheWeights) {
  Config base = in("averaged");
  base.train.init.clear();
  base.train.steps = 10;
  base.lora.rank = 0;
  base.optimizer.ema_decay = 0.8;
  sft(base).run();
  config.train.init = base.train.output + "@ema";
  sft(config).run();
  const auto merged = open_model(resolve_checkpoint(config.train.output)),
             average = open_model(resolve_checkpoint(config.train.init)),
             last = open_model(resolve_checkpoint(base.train.output));
  const std::string key = "model.transformer.blocks.0.k_proj.weight";  // is not adapted
  EXPECT_EQ(values(*merged, key), values(*average, key));
  EXPECT_NE(values(*merged, key), values(*last, key));
}

TEST_F(Lora, TrainsInBf16BesideQuantisedMatrices) {
  config.compute.dtype = Precision::bf16;
  config.lora.base_dtype = BaseDtype::q8_0;
  config.optimizer.learning_rate = 3e-2;
  config.train.async_checkpoint = true;
  Trainer trainer = sft(config);
  std::vector<double> losses;
  while (trainer.state().step < 20) losses.push_back(trainer.step().loss);
  double first = 0, last = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    first += losses[i];
    last += losses[15 + i];
  }
  EXPECT_LT(last, 0.95 * first);
  EXPECT_TRUE(trainer.updater().optimizer().rounds_weights());
}

TEST_F(Lora, WhatDoesNotGoOnIsRefused) {
  config.train.steps = 10;
  sft(config).run();
  const auto resumed = [&](void (*change)(Config&)) {
    Config c = config;
    change(c);
    return error_of<UsageError>([&] { sft(c, true); });
  };
  EXPECT_TRUE(contains(resumed([](Config& c) { c.lora.rank = 2; }), "lora.rank = 2, but"));
  EXPECT_TRUE(contains(resumed([](Config& c) { c.lora.alpha = 2; }), "lora.alpha = 2.0, but"));
  EXPECT_TRUE(contains(resumed([](Config& c) { c.lora.targets = {"ff_out"}; }), "lora.targets"));
  EXPECT_TRUE(contains(resumed([](Config& c) { c.lora.rank = 0; }), "lora.rank = 0, but"));
  EXPECT_EQ(resumed([](Config& c) { c.lora.base_dtype = BaseDtype::q8_0; }), "");
  // The checkpoint of a whole model, as an earlier version's.
  Config whole = in("whole");
  whole.lora.rank = 0;
  whole.train.steps = 10;
  sft(whole).run();
  whole.lora.rank = 4;
  EXPECT_TRUE(contains(error_of([&] { sft(whole, true); }), "holds a whole model, as LoRA of"));
  // What is adapted is gone.
  std::filesystem::rename(in("base").train.output, folder / "elsewhere");
  const std::string gone = error_of([&] { open_model(resolve_checkpoint(config.train.output)); });
  EXPECT_TRUE(contains(gone, "holds adapters of a model that cannot be read: "));
  EXPECT_TRUE(contains(gone, "--adapter"));
}

TEST_F(Lora, TargetsThatAreNone) {
  Config c = in("other");
  c.lora.targets = {"query"};
  EXPECT_TRUE(contains(refusal(c), "'query' is no matrix of a block; there are q_proj, k_proj"));
  c.lora.targets = {"q_proj"};
  c.lora.rank = 32;
  EXPECT_TRUE(contains(refusal(c), "lora.rank = 32 must be below both extents of q_proj [32,32]"));
  c.lora.rank = 4;
  c.lora.base_dtype = BaseDtype::q4_k;
  EXPECT_TRUE(contains(refusal(c),
                       "lora.base_dtype = \"q4_k\" has blocks of 256 elements, but q_proj has 32"));
  c.lora.base_dtype = BaseDtype::automatic;
  c.optimizer.name = OptimizerName::muon;
  EXPECT_TRUE(contains(refusal(c), "lora.rank = 4 needs optimizer.name"));
  c.optimizer.name = OptimizerName::adamw;
  c.train.init.clear();
  EXPECT_TRUE(contains(refusal(c), "train.init names no model to train adapters of"));
}

}  // namespace
}  // namespace lacuna
