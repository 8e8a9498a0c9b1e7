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

TEST(Validate, model) {
  const Case cases[] = {
      {{"model.vocab_size=-1"}, "model.vocab_size = -1 must be at least 0"},
      {{"model.vocab_size=16777217"}, "model.vocab_size = 16777217 must be at most 16777216"},
      {{"model.layers=0"}, "model.layers = 0 must be at least 1"},
      {{"model.width=0"}, "model.width = 0 must be at least 1"},
      {{"model.heads=0"}, "model.heads = 0 must be at least 1"},
      {{"model.heads=3"}, "model.width = 256 must be a multiple of model.heads = 3"},
      {{"model.width=12", "model.heads=4"},
       "model.width = 12 over model.heads = 4 makes heads 3 wide; rotary positions need an even "
       "number"},
      {{"model.kv_heads=-1"}, "model.kv_heads = -1 must be at least 0"},
      {{"model.kv_heads=3"}, "model.kv_heads = 3 must divide model.heads = 4"},
      {{"model.kv_heads=8"}, "model.kv_heads = 8 must divide model.heads = 4"},
      {{"model.kv_heads=2"}, ""},
      {{"model.ffn_width=0"}, "model.ffn_width = 0 must be at least 1"},
      {{"model.max_length=0"}, "model.max_length = 0 must be at least 1"},
      {{"model.rope_theta=0"}, "model.rope_theta = 0.0 must be above 0"},
      {{"model.rope_theta=nan"}, "model.rope_theta = nan must be a finite number"},
      {{"model.norm_eps=0"}, "model.norm_eps = 0.0 must be above 0"},
      {{"model.norm_eps=-inf"}, "model.norm_eps = -inf must be a finite number"},
      {{"model.mask_token=-2"}, "model.mask_token = -2 must be at least -1"},
      {{"model.vocab_size=10", "model.mask_token=10"},
       "model.mask_token = 10 must be below model.vocab_size = 10"},
      {{"model.vocab_size=10", "model.mask_token=9", "model.eos_token=8", "model.pad_token=8"}, ""},
      {{"model.mask_token=9", "model.eos_token=9"},
       "model.mask_token = 9 must differ from model.eos_token"},
      {{"model.mask_token=9", "model.pad_token=9"},
       "model.mask_token = 9 must differ from model.pad_token"},
      {{"model.width=16777216", "model.ffn_width=16777216", "model.layers=65536"},
       "[model] describes 1.29127e+20 parameters; at most 1e15 are possible"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
}

TEST(Validate, data_and_train) {
  const Case cases[] = {
      {{"data.train="}, "data.train = \"\" must not be empty"},
      {{"data.sequence_length=0"}, "data.sequence_length = 0 must be at least 1"},
      {{"data.sequence_length=257"},
       "data.sequence_length = 257 must be at most model.max_length = 256"},
      {{"train.output="}, "train.output = \"\" must not be empty"},
      {{"train.steps=0"}, "train.steps = 0 must be at least 1"},
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
      {{"train.checkpoint_every=-1"}, "train.checkpoint_every = -1 must be at least 0"},
      {{"train.keep_checkpoints=-1"}, "train.keep_checkpoints = -1 must be at least 0"},
      {{"train.sample_every=-1"}, "train.sample_every = -1 must be at least 0"},
      {{"train.sample_length=0"}, "train.sample_length = 0 must be at least 1"},
      {{"train.sample_length=300"}, ""},  // no samples are asked for
      {{"train.sample_length=300", "train.sample_every=5"},
       "train.sample_length = 300 must be at most model.max_length = 256"},
      {{"train.max_bad_steps=0"}, "train.max_bad_steps = 0 must be at least 1"},
      {{"train.objective=autoregressive"},
       "train.objective = \"autoregressive\" needs model.attention = \"causal\""},
      {{"model.attention=causal"},
       "train.objective = \"masked_diffusion\" needs model.attention = \"full\""},
      {{"model.attention=causal", "train.objective=autoregressive"}, ""},
      {{"model.attention=causal", "train.objective=autoregressive", "data.sequence_length=1"},
       "data.sequence_length = 1 must be at least 2"},
  };
  for (const Case& c : cases) EXPECT_EQ(verdict(c.overrides), c.verdict);
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
       "optimizer.warmup_steps = 1.0 must be a share of train.steps in [0, 1), or a whole number "
       "of steps; write 1"},
      {{"optimizer.decay_steps=200.0"},
       "optimizer.decay_steps = 200.0 must be a share of train.steps in [0, 1), or a whole number "
       "of steps; write 200"},
      {{"optimizer.decay_steps=1.5"},
       "optimizer.decay_steps = 1.5 must be a share of train.steps in [0, 1), or a whole number of "
       "steps"},
      {{"optimizer.warmup_steps=-0.1"},
       "optimizer.warmup_steps = -0.1 must be a share of train.steps in [0, 1), or a whole number "
       "of steps"},
      {{"optimizer.warmup_steps=nan"},
       "optimizer.warmup_steps = nan must be a share of train.steps in [0, 1), or a whole number "
       "of steps"},
      {{"optimizer.decay_steps=inf"},
       "optimizer.decay_steps = inf must be a share of train.steps in [0, 1), or a whole number of "
       "steps"},
      {{"optimizer.warmup_steps=0.6", "optimizer.decay_steps=0.5"},
       "optimizer.warmup_steps = 0.6 and optimizer.decay_steps = 0.5 are shares of a run; together "
       "they must be at most 1.0"},
      {{"optimizer.warmup_steps=0.6", "optimizer.decay_steps=0.5", "optimizer.schedule=cosine"},
       ""},
      {{"sft.pad_group=0"}, "sft.pad_group = 0 must be at least 1"},
      {{"sft.lora_rank=-1"}, "sft.lora_rank = -1 must be at least 0"},
      {{"sft.lora_alpha=-1"}, "sft.lora_alpha = -1.0 must not be negative"},
      {{"parallel.tensor=0"}, "parallel.tensor = 0 must be at least 1"},
      {{"parallel.tensor=3"}, "parallel.tensor = 3 must divide model.heads = 4"},
      {{"parallel.tensor=4", "model.kv_heads=2"},
       "parallel.tensor = 4 must divide model.kv_heads = 2"},
      {{"parallel.tensor=4", "model.ffn_width=702"},
       "parallel.tensor = 4 must divide model.ffn_width = 702"},
      {{"parallel.zero=2"}, "parallel.zero = 2 must be at most 1"},
      {{"parallel.threads=-1"}, "parallel.threads = -1 must be at least 0"},
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
    EXPECT_EQ(numbers, 13);
  }
}

}  // namespace
}  // namespace lacuna
