#include <cmath>
#include <limits>

#include "config/config.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::error_of;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

/// What validate() says of the defaults with these overrides; "" when nothing.
std::string verdict(const std::vector<std::string>& overrides) {
  Config config;
  for (const std::string& o : overrides) apply_override(config, o);
  return error_of<UsageError>([&] { validate(config); });
}

struct Case {
  std::vector<std::string> overrides;
  std::string verdict;
};

TEST(Validate, the_defaults_are_valid) { EXPECT_EQ(verdict({}), ""); }

TEST(Validate, sources) {
  const std::string two = "data.sources=[{path=\"a\"}, {path=\"b\", weight=3}]";
  const Case cases[] = {
      {{two}, ""},
      {{two, "data.stages={from_step=5, weights=[1, 0]}"}, ""},
      {{"data.sources={path=\"a\"}"}, ""},
      {{"data.sources={weight=1}"}, "data.sources[0] has no path"},
      {{"data.sources=[{path=\"a\"}, {path=\"a\"}]"},
       "data.sources[1] and data.sources[0] are the same, a; name it once, with the sum of the "
       "weights"},
      {{"data.sources={path=\"a\", weight=0}"}, "data.sources gives every source a weight of 0"},
      {{"data.sources={path=\"a\", weight=-1}"},
       "data.sources has a weight of -1.0; it must be a number, 0 or more"},
      {{"data.sources={path=\"a\", max_epochs=-1}"},
       "data.sources[0].max_epochs = -1.0 must be a number, 0 or more"},
      {{"data.stages={from_step=5, weights=[1]}"},
       "data.stages needs data.sources, whose weights it changes"},
      {{two, "data.stages={from_step=0, weights=[1, 1]}"},
       "data.stages[0].from_step = 0 must be above 0"},
      {{two, "data.stages=[{from_step=5, weights=[1, 1]}, {from_step=5, weights=[1, 2]}]"},
       "data.stages[1].from_step = 5 must be above 5, that of the stage before it"},
      {{two, "data.stages={from_step=5, weights=[1]}"},
       "data.stages[0].weights has 1 weight for 2 sources"},
      {{two, "data.stages={from_step=5, weights=[0, 0]}"},
       "data.stages[0] gives every source a weight of 0"},
      {{"data.documents=separate"}, ""},
      {{"data.documents=separate", "train.objective=block_diffusion",
        "model.attention=block_causal", "model.block_size=8"},
       "data.documents = \"separate\" is for masked_diffusion and autoregressive: blocks of "
       "block_diffusion would cross the bounds of documents"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict) << c.overrides.back();
}

TEST(Validate, model) {
  const Case cases[] = {
      {{"model.vocab_size=-1"}, "model.vocab_size = -1 must be at least 0"},
      {{"model.vocab_size=16777217"}, "model.vocab_size = 16777217 must be at most 16777216"},
      {{"model.num_layers=0"}, "model.num_layers = 0 must be at least 1"},
      {{"model.hidden_size=0"}, "model.hidden_size = 0 must be at least 1"},
      {{"model.num_heads=0"}, "model.num_heads = 0 must be at least 1"},
      {{"model.num_heads=3"},
       "model.hidden_size = 256 must be a multiple of model.num_heads = 3, or model.head_dim be "
       "given"},
      {{"model.hidden_size=12", "model.num_heads=4"},
       "model.hidden_size = 12 over model.num_heads = 4 makes heads 3 wide; rotary positions need "
       "an even "
       "number"},
      {{"model.num_kv_heads=-1"}, "model.num_kv_heads = -1 must be at least 0"},
      {{"model.num_kv_heads=3"}, "model.num_kv_heads = 3 must divide model.num_heads = 4"},
      {{"model.num_kv_heads=8"}, "model.num_kv_heads = 8 must divide model.num_heads = 4"},
      {{"model.num_kv_heads=2"}, ""},
      {{"model.num_experts=-1"}, "model.num_experts = -1 must be at least 0"},
      {{"model.num_experts=4097", "model.num_experts_per_tok=1"},
       "model.num_experts = 4097 must be at most 4096"},
      {{"model.num_experts=4"}, "model.num_experts_per_tok = 0 must be at least 1"},
      {{"model.num_experts=4", "model.num_experts_per_tok=5"},
       "model.num_experts_per_tok = 5 must be at most model.num_experts = 4"},
      {{"model.num_experts=4", "model.num_experts_per_tok=4"}, ""},
      {{"model.num_experts=4096", "model.num_experts_per_tok=1", "model.num_layers=65"},
       "model.num_experts = 4096 times model.num_layers = 65 must be at most 262144"},
      {{"model.num_experts_per_tok=2"},
       "model.num_experts_per_tok = 2 needs model.num_experts, the number of experts"},
      {{"model.norm_topk_prob=true"},
       "model.norm_topk_prob = true needs model.num_experts, the number of experts"},
      {{"model.num_heads=3", "model.head_dim=64"}, ""},
      {{"model.head_dim=-2"}, "model.head_dim = -2 must be at least 0"},
      {{"model.head_dim=5"}, "model.head_dim = 5 must be even: rotary positions turn pairs"},
      {{"model.logits_shift=true"}, ""},
      {{"model.logits_shift=true", "model.attention=causal"},
       "model.logits_shift = true is for diffusion models; one with model.attention = \"causal\" "
       "always predicts the next token"},
      {{"model.logits_shift=true", "model.attention=block_causal", "model.block_size=8",
        "train.objective=block_diffusion"},
       ""},
      {{"model.intermediate_size=0"}, "model.intermediate_size = 0 must be at least 1"},
      {{"model.max_seq_length=0"}, "model.max_seq_length = 0 must be at least 1"},
      {{"model.rope_theta=0"}, "model.rope_theta = 0.0 must be above 0"},
      {{"model.rope_theta=nan"}, "model.rope_theta = nan must be a finite number"},
      {{"model.rms_norm_eps=0"}, "model.rms_norm_eps = 0.0 must be above 0"},
      {{"model.rms_norm_eps=-inf"}, "model.rms_norm_eps = -inf must be a finite number"},
      {{"model.mask_token=-2"}, "model.mask_token = -2 must be at least -1"},
      {{"model.vocab_size=10", "model.mask_token=10"},
       "model.mask_token = 10 must be below model.vocab_size = 10"},
      {{"model.vocab_size=10", "model.mask_token=9", "model.eos_token=8", "model.pad_token=8"}, ""},
      {{"model.mask_token=9", "model.eos_token=9"},
       "model.mask_token = 9 must differ from model.eos_token"},
      {{"model.mask_token=9", "model.pad_token=9"},
       "model.mask_token = 9 must differ from model.pad_token"},
      {{"model.hidden_size=16777216", "model.intermediate_size=16777216", "model.num_layers=65536"},
       "[model] describes 1.29127e+20 parameters; at most 1e15 are possible"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
}

TEST(Validate, data_and_train) {
  const Case cases[] = {
      {{"data.train="}, "data.train = \"\" must not be empty"},
      {{"data.sequence_length=0"}, "data.sequence_length = 0 must be at least 1"},
      {{"data.sequence_length=257"},
       "data.sequence_length = 257 must be at most model.max_seq_length = 256"},
      {{"train.output="}, "train.output = \"\" must not be empty"},
      {{"train.steps=0"}, "train.steps = 0 must be at least 1"},
      {{"train.steps=-1"}, ""},  // by default 1000
      {{"train.steps=-2"}, "train.steps = -2 must be at least 1"},
      {{"train.epochs=3"}, ""},
      {{"train.epochs=0.25", "train.steps=-1"}, ""},
      {{"train.epochs=-1"}, "train.epochs = -1.0 must not be negative"},
      {{"train.epochs=1e10"}, "train.epochs = 1e+10 must lie between 0.0 and 2147483647.0"},
      {{"train.steps=2147483648"}, "train.steps = 2147483648 must be at most 2147483647"},
      {{"train.batch_size=0"}, "train.batch_size = 0 must be at least 1"},
      {{"train.micro_batch_size=0"}, "train.micro_batch_size = 0 must be at least 1"},
      {{"train.batch_size=30"},
       "train.batch_size = 30 must be a multiple of train.micro_batch_size = 8"},
      {{"train.batch_size=4"},
       "train.batch_size = 4 must be a multiple of train.micro_batch_size = 8"},
      {{"train.random_length_fraction=1"}, ""},
      {{"train.random_length_fraction=1.01"},
       "train.random_length_fraction = 1.01 must lie between 0.0 and 1.0"},
      {{"train.random_length_fraction=nan"},
       "train.random_length_fraction = nan must lie between 0.0 and 1.0"},
      {{"train.min_mask_probability=0"},
       "train.min_mask_probability = 0.0 must lie between 1e-06 and 1.0"},
      {{"train.min_mask_probability=1"}, ""},
      {{"train.seed=-1"}, "train.seed = -1 must be at least 0"},
      {{"train.seed=9223372036854775807"}, ""},
      {{"train.eval_every=-1"}, "train.eval_every = -1 must be at least 0"},
      {{"train.eval_samples=0"}, "train.eval_samples = 0 must be at least 1"},
      {{"train.log_every=0"}, "train.log_every = 0 must be at least 1"},
      {{"train.log_every=0.0"}, "train.log_every = 0.0 must be at least 1"},
      {{"train.eval_every=0.1", "train.checkpoint_every=0.5", "train.sample_every=0.25",
        "train.log_every=0.01"},
       ""},
      {{"train.eval_every=1.0"},
       "train.eval_every = 1.0 must be a share of the run in [0, 1), or a whole number of steps; "
       "write 1"},
      {{"train.checkpoint_every=-1"}, "train.checkpoint_every = -1 must be at least 0"},
      {{"train.keep_checkpoints=-1"}, "train.keep_checkpoints = -1 must be at least 0"},
      {{"train.sample_every=-1"}, "train.sample_every = -1 must be at least 0"},
      {{"train.sample_length=0"}, "train.sample_length = 0 must be at least 1"},
      {{"train.sample_length=300"}, ""},  // no samples are asked for
      {{"train.sample_length=300", "train.sample_every=5"},
       "train.sample_length = 300 must be at most model.max_seq_length = 256"},
      {{"train.max_bad_steps=0"}, "train.max_bad_steps = 0 must be at least 1"},
      {{"train.recompute=gate_up,qkv,block"}, ""},
      {{"train.recompute=blocks"},
       "train.recompute = [\"blocks\"] may hold gate_up, qkv and block"},
      {{"train.recompute=qkv,gate_up,qkv"},
       "train.recompute = [\"qkv\", \"gate_up\", \"qkv\"] names qkv twice"},
      {{"train.objective=autoregressive"},
       "train.objective = \"autoregressive\" needs model.attention = \"causal\""},
      {{"model.attention=causal"},
       "train.objective = \"masked_diffusion\" needs model.attention = \"bidirectional\""},
      {{"model.attention=causal", "train.objective=autoregressive"}, ""},
      {{"model.attention=causal", "train.objective=autoregressive", "data.sequence_length=1"},
       "data.sequence_length = 1 must be at least 2"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
}

TEST(Validate, block_diffusion) {
  const auto with = [](std::vector<std::string> more) {
    std::vector<std::string> all = {"model.attention=block_causal", "model.block_size=16",
                                    "train.objective=block_diffusion"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Case cases[] = {
      {with({}), ""},
      {{"model.block_size=16"}, "model.block_size = 16 needs model.attention = \"block_causal\""},
      {{"model.causal_context=true"},
       "model.causal_context = true needs model.attention = \"block_causal\""},
      {{"model.attention=block_causal"},
       "model.attention = \"block_causal\" needs model.block_size, the tokens per block"},
      {with({"model.block_size=-1"}), "model.block_size = -1 must be at least 0"},
      {with({"model.block_size=48"}),
       "model.max_seq_length = 256 must be a multiple of model.block_size = 48"},
      {with({"data.sequence_length=200"}),
       "data.sequence_length = 200 must be a multiple of model.block_size = 16"},
      {with({"train.objective=masked_diffusion"}),
       "train.objective = \"masked_diffusion\" needs model.attention = \"bidirectional\""},
      {{"train.objective=block_diffusion"},
       "train.objective = \"block_diffusion\" needs model.attention = \"block_causal\""},
      {with({"train.block_sizes=1,4,16"}), ""},
      {with({"train.block_sizes=1,4"}),
       "train.block_sizes = [1, 4] must end with model.block_size = 16"},
      {with({"train.block_sizes=16,4", "train.block_schedule=mixed"}), ""},
      {with({"train.block_sizes=8,4", "train.block_schedule=mixed"}),
       "train.block_sizes = [8, 4] must contain model.block_size = 16"},
      {with({"train.block_sizes=24,16"}),
       "train.block_sizes = [24, 16] contains 24, which does not divide data.sequence_length = "
       "256"},
      {with({"train.block_sizes=0,16"}),
       "train.block_sizes = [0, 16] contains 0, which does not divide data.sequence_length = 256"},
      {with({"train.noisy_views=0"}), "train.noisy_views = 0 must be at least 1"},
      {with({"train.complementary_masks=true"}),
       "train.complementary_masks = true needs an even number of views; train.noisy_views = 1"},
      {with({"train.complementary_masks=true", "train.noisy_views=4"}), ""},
      {with({"train.autoregressive_weight=1"}),
       "train.autoregressive_weight = 1.0 needs model.causal_context = true: else a token attends "
       "to the one it predicts"},
      {with({"train.autoregressive_weight=-1"}),
       "train.autoregressive_weight = -1.0 must not be negative"},
      {with({"train.autoregressive_weight=1", "model.causal_context=true"}), ""},
      {{"train.noisy_views=2", "train.complementary_masks=true", "train.mask_form=mask_count",
        "train.stratified_mask_ratios=true"},
       ""},
      {{"train.complementary_masks=true"},
       "train.complementary_masks = true needs an even number of views; train.noisy_views = 1"},
      {{"train.objective=autoregressive", "model.attention=causal", "train.noisy_views=2"},
       "train.noisy_views = 2 needs a diffusion objective, not train.objective = "
       "\"autoregressive\""},
      {{"train.objective=autoregressive", "model.attention=causal",
        "train.stratified_mask_ratios=true"},
       "train.stratified_mask_ratios = true needs a diffusion objective, not train.objective = "
       "\"autoregressive\""},
      {{"train.block_sizes=4"},
       "train.block_sizes = [4] needs train.objective = \"block_diffusion\""},
      {{"train.objective=autoregressive", "model.attention=causal", "train.mask_form=mask_ratio"},
       "train.mask_form = \"mask_ratio\" needs a diffusion objective, not train.objective = "
       "\"autoregressive\""},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
}

TEST(Validate, steps_or_epochs) {
  Config both;
  both.train.steps = 100;
  both.train.epochs = 3;
  EXPECT_EQ(error_of<UsageError>([&] { validate(both); }),
            "train.steps = 100 and train.epochs = 3.0: give one of them");
  // Of a file that says one, an override may choose the other.
  Config config;
  config.train.steps = 100;
  apply_override(config, "train.epochs=3");
  EXPECT_EQ(config.train.steps, -1);
  EXPECT_EQ(config.train.epochs, 3);
  apply_override(config, "train.steps=50");
  EXPECT_EQ(config.train.steps, 50);
  EXPECT_EQ(config.train.epochs, 0);
  apply_override(config, "train.seed=2");
  EXPECT_EQ(config.train.steps, 50);
}

TEST(Validate, optimizer_and_parallel) {
  const std::string f32 = "must lie between 1.1754943508222875e-38 and 3.4028234663852886e+38";
  const Case cases[] = {
      {{"optimizer.learning_rate=0"}, "optimizer.learning_rate = 0.0 must be above 0"},
      {{"optimizer.learning_rate=inf"}, "optimizer.learning_rate = inf must be a finite number"},
      {{"optimizer.min_learning_rate=-1"},
       "optimizer.min_learning_rate = -1.0 must not be negative"},
      {{"optimizer.min_learning_rate=0.5"},
       "optimizer.min_learning_rate = 0.5 must be at most optimizer.learning_rate = 0.001"},
      {{"optimizer.min_learning_rate=0.5", "optimizer.schedule=constant"}, ""},
      {{"optimizer.beta1=1"}, "optimizer.beta1 = 1.0 must lie in [0, 1)"},
      {{"optimizer.beta2=-0.1"}, "optimizer.beta2 = -0.1 must lie in [0, 1)"},
      {{"optimizer.beta2=nan"}, "optimizer.beta2 = nan must lie in [0, 1)"},
      {{"optimizer.eps=0"}, "optimizer.eps = 0.0 must be above 0"},
      {{"optimizer.eps=5e-324"}, "optimizer.eps = 5e-324 " + f32},
      {{"optimizer.eps=1e-45"}, "optimizer.eps = 1e-45 " + f32},
      {{"optimizer.eps=1.2e-38"}, ""},
      {{"optimizer.eps=1e39"}, "optimizer.eps = 1e+39 " + f32},
      {{"optimizer.learning_rate=1e39"}, "optimizer.learning_rate = 1e+39 " + f32},
      {{"optimizer.learning_rate=1e38"},
       "optimizer.learning_rate = 1e+38 over 1 - optimizer.beta1 = 0.9 is beyond f32"},
      {{"optimizer.learning_rate=1e20", "optimizer.weight_decay=1e20"},
       "optimizer.learning_rate = 1e+20 times optimizer.weight_decay = 1e+20 is beyond f32"},
      {{"optimizer.weight_decay=-1"}, "optimizer.weight_decay = -1.0 must not be negative"},
      {{"optimizer.clip_norm=-1"}, "optimizer.clip_norm = -1.0 must not be negative"},
      {{"optimizer.clip_norm=0"}, ""},
      {{"optimizer.warmup_steps=-1"}, "optimizer.warmup_steps = -1 must be at least 0"},
      {{"optimizer.decay_steps=-1"}, "optimizer.decay_steps = -1 must be at least 0"},
      {{"train.steps=1", "optimizer.warmup_steps=100", "optimizer.decay_steps=200"}, ""},
      {{"optimizer.warmup_steps=0.999", "optimizer.decay_steps=0.0"}, ""},
      {{"optimizer.warmup_steps=1.0"},
       "optimizer.warmup_steps = 1.0 must be a share of the run in [0, 1), or a whole number "
       "of steps; write 1"},
      {{"optimizer.decay_steps=200.0"},
       "optimizer.decay_steps = 200.0 must be a share of the run in [0, 1), or a whole number "
       "of steps; write 200"},
      {{"optimizer.decay_steps=1.5"},
       "optimizer.decay_steps = 1.5 must be a share of the run in [0, 1), or a whole number of "
       "steps"},
      {{"optimizer.warmup_steps=-0.1"},
       "optimizer.warmup_steps = -0.1 must be a share of the run in [0, 1), or a whole number "
       "of steps"},
      {{"optimizer.warmup_steps=nan"},
       "optimizer.warmup_steps = nan must be a share of the run in [0, 1), or a whole number "
       "of steps"},
      {{"optimizer.decay_steps=inf"},
       "optimizer.decay_steps = inf must be a share of the run in [0, 1), or a whole number of "
       "steps"},
      {{"optimizer.warmup_steps=0.6", "optimizer.decay_steps=0.5"},
       "optimizer.warmup_steps = 0.6 and optimizer.decay_steps = 0.5 are shares of a run; together "
       "they must be at most 1.0"},
      {{"optimizer.warmup_steps=0.6", "optimizer.decay_steps=0.5", "optimizer.schedule=cosine"},
       ""},
      {{"sft.pad_group=0"}, "sft.pad_group = 0 must be at least 1"},
      {{"lora.rank=-1"}, "lora.rank = -1 must be at least 0"},
      {{"lora.alpha=-1"}, "lora.alpha = -1.0 must not be negative"},
      {{"lora.targets=[]"}, ""},
      {{"lora.targets=[]", "lora.rank=2"}, "lora.targets = [] names no matrix, but lora.rank = 2"},
      {{"parallel.tensor_parallel=0"}, "parallel.tensor_parallel = 0 must be at least 1"},
      {{"parallel.tensor_parallel=3"},
       "parallel.tensor_parallel = 3 must divide model.num_heads = 4"},
      {{"parallel.tensor_parallel=4", "model.num_kv_heads=2"},
       "parallel.tensor_parallel = 4 must divide model.num_kv_heads = 2"},
      {{"parallel.tensor_parallel=4", "model.intermediate_size=702"},
       "parallel.tensor_parallel = 4 must divide model.intermediate_size = 702"},
      {{"parallel.zero_stage=2"}, ""},
      {{"parallel.zero_stage=3"}, ""},
      {{"parallel.zero_stage=4"}, "parallel.zero_stage = 4 must be at most 3"},
      {{"parallel.zero_stage=3", "lora.rank=2"},
       "parallel.zero_stage = 3 shards weights that are trained; for adapters (lora.rank = 2) it "
       "must be at most 2"},
      {{"optimizer.moments_dtype=bf16"}, ""},
      {{"compute.linear_dtype=fp8"},
       "compute.linear_dtype = \"fp8\" needs bf16 weights, not compute.dtype = \"f32\""},
      {{"compute.linear_dtype=fp8", "compute.dtype=bf16", "lora.rank=4"},
       "compute.linear_dtype = \"fp8\" is for training all weights, not lora.rank = 4"},
      {{"compute.linear_dtype=fp8", "compute.dtype=bf16", "model.intermediate_size=72"},
       "compute.linear_dtype = \"fp8\" needs multiples of 16, not model.intermediate_size = 72"},
      {{"compute.linear_dtype=fp8", "compute.dtype=bf16", "model.intermediate_size=64",
        "parallel.tensor_parallel=8", "model.num_heads=8"},
       "compute.linear_dtype = \"fp8\" needs multiples of 128, 16 on each of 8 tensor parallel "
       "ranks, not model.intermediate_size = 64"},
      {{"compute.linear_dtype=fp8", "compute.dtype=bf16"}, ""},
      {{"compute.threads=-1"}, "compute.threads = -1 must be at least 0"},
      {{"optimizer.cpu_offload=true"},
       "optimizer.cpu_offload = true needs compute.device = \"cuda\""},
      {{"optimizer.cpu_offload=true", "compute.device=cuda", "optimizer.name=muon"},
       "optimizer.cpu_offload = true needs optimizer.name = \"adamw\""},
      {{"optimizer.cpu_offload=true", "compute.device=cuda", "lora.rank=4"},
       "optimizer.cpu_offload = true updates all weights; for lora.rank = 4 it must be false"},
      {{"optimizer.cpu_offload=true", "compute.device=cuda"}, ""},
      {{"dpo.beta=0"}, "dpo.beta = 0.0 must be above 0"},
      {{"dpo.mask_samples=0"}, "dpo.mask_samples = 0 must be at least 1"},
      {{"dpo.sft_weight=-0.1"}, "dpo.sft_weight = -0.1 must not be negative"},
      {{"parallel.timeout=-1"}, "parallel.timeout = -1.0 must not be negative"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
}

TEST(Validate, no_number_may_be_nan_or_infinite) {
  for (const double bad : {kNan, kInf, -kInf}) {
    const Config defaults;
    int numbers = 0;
    Config::sections(defaults, [&](const auto& section, const char* section_name) {
      using Section = std::decay_t<decltype(section)>;
      Section::fields(section, [&](const auto& field, const char* key, const char*) {
        if constexpr (std::is_same_v<std::decay_t<decltype(field)>, double>) {
          ++numbers;
          const std::string word = std::isnan(bad) ? "nan" : bad > 0 ? "inf" : "-inf";
          EXPECT_NE(verdict({str(section_name, '.', key, '=', word)}), "") << key << ' ' << word;
        }
      });
    });
    EXPECT_EQ(numbers, 20);
  }
}

}  // namespace
}  // namespace lacuna
