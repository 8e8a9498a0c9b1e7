// Keys of earlier versions: read in checkpoints, refused elsewhere.
#include "config/renamed_keys.h"

#include <set>

#include "config/config.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::error_of;
using testing::Folder;

/// What a checkpoint of version 0.1.0 held, with a value other than the default for each key that
/// has another name now.
constexpr const char* kStored = R"([model]
vocab_size = 18
layers = 3
width = 48
heads = 6
kv_heads = 2
ffn_width = 80
max_length = 40
rope_theta = 10000.0
norm_eps = 1e-06
tied_embeddings = true

[sft]
pad_loss = "none"
pad_group = 3
lora_rank = 5
lora_alpha = 7.0
lora_targets = "k_proj, ff_out,"

[parallel]
tensor = 2
split_rows = true
zero = 1
device = "cuda"
dtype = "bf16"
threads = 3
timeout = 60.0
transport = "mpi"
tune_products = true
attention_kernels = "hopper"
)";

TEST(RenamedKeys, a_word_of_an_earlier_version_is_read_everywhere) {
  const std::string text = "[model]\nattention = \"full\"\n";
  EXPECT_EQ(parse_stored_config(text, "run.h5").model.attention, Attention::bidirectional);
  EXPECT_EQ(parse_config(text, "run.toml").model.attention, Attention::bidirectional);
  Config config;
  config.model.attention = Attention::causal;
  apply_override(config, "model.attention=full");
  EXPECT_EQ(config.model.attention, Attention::bidirectional);
  // Only as a value of that key.
  EXPECT_EQ(
      error_of([&] { apply_override(config, "train.objective=full"); }),
      "--set train.objective=full: train.objective must be masked_diffusion, autoregressive or "
      "block_diffusion; found the string 'full'");
}

TEST(RenamedKeys, a_stored_config_is_read_by_its_old_names) {
  const Config c = parse_stored_config(kStored, "run.h5");
  Config expected;
  expected.model = {.vocab_size = 18,
                    .num_layers = 3,
                    .hidden_size = 48,
                    .num_heads = 6,
                    .num_kv_heads = 2,
                    .intermediate_size = 80,
                    .max_seq_length = 40,
                    .rms_norm_eps = 1e-6,
                    .tie_embeddings = true};
  expected.sft = {.pad_loss = PadLoss::none, .pad_group = 3};
  expected.lora = {.rank = 5, .alpha = 7, .targets = {"k_proj", "ff_out"}};
  expected.parallel = {.tensor_parallel = 2,
                       .sequence_parallel = true,
                       .zero_stage = 1,
                       .timeout = 60,
                       .transport = Transport::mpi};
  expected.compute = {.device = DeviceKind::cuda,
                      .dtype = Precision::bf16,
                      .threads = 3,
                      .tune_gemms = true,
                      .attention_kernels = AttentionKernels::hopper};
  EXPECT_EQ(c, expected);
  EXPECT_EQ(parse_stored_config(to_toml(c), "run.h5"), c);
}

TEST(RenamedKeys, a_stored_config_must_still_be_right) {
  const auto mistake = [](const char* toml) {
    return error_of<UsageError>([&] { parse_stored_config(toml, "run.h5"); });
  };
  EXPECT_EQ(mistake("[model]\nlayers = 'two'\n"),
            "run.h5:2:10: model.num_layers must be an integer; found the string 'two'");
  EXPECT_EQ(mistake("[model]\nnum_layer = 2\n"),
            "run.h5:2:1: unknown key 'num_layer' in [model]; the nearest known is 'num_layers'");
}

TEST(RenamedKeys, elsewhere_an_old_name_is_an_error_that_states_the_new_one) {
  const Folder folder;
  std::string section;
  std::istringstream lines(kStored);
  std::set<std::string> refused;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("[")) section = line.substr(1, line.size() - 2);
    const std::size_t equals = line.find(" = ");
    if (equals == std::string::npos) continue;
    const std::string old_key = line.substr(0, equals), value = line.substr(equals + 3);
    const auto now = renamed_key(section, old_key);
    if (!now) continue;
    refused.insert(section + "." + old_key);
    const std::string verdict = str(section, ".", old_key, " is now ", now->section, ".", now->key);
    const std::string path = folder.write("c.toml", "[" + section + "]\n" + line + "\n");
    EXPECT_EQ(error_of<UsageError>([&] { read_config(path, {}); }), path + ":2:1: " + verdict);
    Config config;
    const std::string text = section + "." + old_key + "=" + value;
    EXPECT_EQ(error_of<UsageError>([&] { apply_override(config, text); }),
              "--set " + text + ": " + verdict);
  }
  EXPECT_EQ(refused.size(), 19u);
}

TEST(RenamedKeys, a_name_of_today_was_not_renamed) {
  Config config;
  Config::sections(config, [](auto& section, const char* name) {
    std::decay_t<decltype(section)>::fields(section, [&](auto&, const char* key, const char*) {
      EXPECT_FALSE(renamed_key(name, key)) << name << '.' << key;
    });
  });
}

TEST(RenamedKeys, a_list_as_text_is_for_checkpoints_alone) {
  EXPECT_EQ(error_of<UsageError>(
                [] { parse_config("[lora]\ntargets = \"q_proj, v_proj\"\n", "run.toml"); }),
            "run.toml:2:11: lora.targets must be a list of strings; found the string 'q_proj, "
            "v_proj'; write [\"q_proj\", \"v_proj\"]");
}

}  // namespace
}  // namespace lacuna
