#include "config/config.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

Config with(const std::string& text) {
  Config config;
  apply_override(config, text);
  return config;
}
std::string mistake_of(const std::string& text) {
  return error_of<UsageError>([&] { with(text); });
}

TEST(Override, numbers_words_and_paths) {
  EXPECT_EQ(with("train.steps=12").train.steps, 12);
  EXPECT_EQ(with(" train.steps = 1_2 ").train.steps, 12);
  EXPECT_EQ(with("train.seed=0x10").train.seed, 16);
  EXPECT_EQ(with("optimizer.learning_rate=3e-4").optimizer.learning_rate, 3e-4);
  EXPECT_EQ(with("optimizer.clip_norm=2").optimizer.clip_norm, 2.0);
  EXPECT_EQ(with("model.tie_embeddings=true").model.tie_embeddings, true);
  EXPECT_EQ(with("model.attention=causal").model.attention, Attention::causal);
  EXPECT_EQ(with("model.attention=\"causal\"").model.attention, Attention::causal);
}

TEST(Override, a_string_is_taken_as_it_stands_unless_it_is_quoted) {
  EXPECT_EQ(with("train.output=runs/a b").train.output, "runs/a b");
  EXPECT_EQ(with("train.output='runs/a b'").train.output, "runs/a b");
  EXPECT_EQ(with("train.output=\"a\\tb\"").train.output, "a\tb");
  EXPECT_EQ(with("train.output=C:\\runs\\\"a\"#1").train.output, "C:\\runs\\\"a\"#1");
  EXPECT_EQ(with("train.output=a=b").train.output, "a=b");
  EXPECT_EQ(with("train.output=5").train.output, "5");
  EXPECT_EQ(with("data.validation=").data.validation, "");
  EXPECT_EQ(with("data.validation=\"\"").data.validation, "");
}

TEST(Override, a_list_is_words_between_commas_with_or_without_brackets) {
  using Words = std::vector<std::string>;
  const auto targets = [](const std::string& value) {
    return with("lora.targets=" + value).lora.targets;
  };
  for (const char* value : {"q_proj,k_proj", " q_proj , k_proj ", "[q_proj, k_proj]",
                            "[\"q_proj\", 'k_proj']", "\"q_proj\", k_proj"})
    EXPECT_EQ(targets(value), (Words{"q_proj", "k_proj"})) << value;
  EXPECT_EQ(targets("q_proj"), Words{"q_proj"});
  EXPECT_EQ(targets("'a, b', \"c]\\u0041\""), (Words{"a, b", "c]A"}));
  EXPECT_EQ(targets("[]"), Words{});
  EXPECT_EQ(targets(""), Words{});
  for (const char* value : {"a,,b", ",", "a,", "[a,]"})
    EXPECT_EQ(mistake_of(str("lora.targets=", value)),
              str("--set lora.targets=", value, ": an element of the list is empty"));
  EXPECT_EQ(mistake_of("lora.targets=\"a"), "--set lora.targets=\"a: a quote is not closed");
}

TEST(Override, sources_or_a_single_file) {
  Config config;
  apply_override(config, "data.train=x.h5");
  apply_override(config, "data.sources=[{path = \"a,b\", weight = 2}, {path = \"c\"}]");
  EXPECT_EQ(config.data.sources, (std::vector<DataSource>{{"a,b", 2, 0}, {"c", 1, 0}}));
  EXPECT_EQ(config.data.train, DataConfig::kDefaultTrain);
  apply_override(config, "data.stages={from_step = 4, weights = [1, 1]}");
  apply_override(config, "data.train=x.h5");
  EXPECT_EQ(config.data.sources.size() + config.data.stages.size(), 0u);
  EXPECT_EQ(config.data.train, "x.h5");
}

TEST(Override, other_keys_stay) {
  Config expected;
  expected.train.steps = 3;
  EXPECT_EQ(with("train.steps=3"), expected);
}

TEST(Override, malformed_ones) {
  for (const char* text : {"", "=", "train", "train=5", "train.=5", ".steps=5", "train.steps",
                           "a.b.c=5", "=train.steps"})
    EXPECT_EQ(mistake_of(text), str("--set ", text, ": must be section.key=value"));
  EXPECT_EQ(mistake_of("train.steps="), "--set train.steps=: has no value");
  EXPECT_TRUE(contains(mistake_of("train.steps=five"),
                       "--set train.steps=five: 'five' is not a TOML value: "));
  EXPECT_TRUE(contains(mistake_of("train.output=\"open"), "is not a TOML value: "));
  EXPECT_TRUE(contains(mistake_of("train.output=\xff"), "is not a TOML value: "));
  EXPECT_EQ(mistake_of("train.steps=1\nx=2"),
            "--set train.steps=1\nx=2: holds more than one value");
}

TEST(Override, wrong_names_and_types) {
  EXPECT_EQ(mistake_of("train.stepps=1"),
            "--set train.stepps=1: unknown key 'stepps' in [train]; the nearest known is 'steps'");
  EXPECT_EQ(mistake_of("trian.steps=1"),
            "--set trian.steps=1: unknown section [trian]; the nearest known is [train]");
  EXPECT_EQ(mistake_of("train.steps=1.5"),
            "--set train.steps=1.5: train.steps must be an integer; found the number 1.5");
  EXPECT_EQ(mistake_of("compute.device=tpu"),
            "--set compute.device=tpu: compute.device must be cpu, cuda or cuda-emulated; found "
            "the string 'tpu'");
}

}  // namespace
}  // namespace lacuna
