#include "config/config.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

std::string mistake_in(const std::string& toml) {
  return error_of<UsageError>([&] { parse_config(toml, "run.toml"); });
}

TEST(ReadConfig, an_empty_file_is_the_defaults) { EXPECT_EQ(parse_config("", "x"), Config{}); }

TEST(ReadConfig, every_kind_of_value) {
  const Config c = parse_config(R"(
# a comment
[model]
hidden_size = 512
tie_embeddings = true
attention = "causal"
rope_theta = 500_000
[data]
train = 'a\b.h5'
[train]
sample_prompt = "In the \"beginning\"\n\u00e9"
[optimizer]
learning_rate = 4e-4
schedule = "cosine"
warmup_steps = 2_000
decay_steps = 0.25
)",
                                "run.toml");
  EXPECT_EQ(c.model.hidden_size, 512);
  EXPECT_TRUE(c.model.tie_embeddings);
  EXPECT_EQ(c.model.attention, Attention::causal);
  EXPECT_EQ(c.model.rope_theta, 500000.0);  // an integer where a number is wanted
  EXPECT_EQ(c.data.train, "a\\b.h5");
  EXPECT_EQ(c.train.sample_prompt, "In the \"beginning\"\n\xc3\xa9");
  EXPECT_EQ(c.optimizer.learning_rate, 4e-4);
  EXPECT_EQ(c.optimizer.schedule, Schedule::cosine);
  EXPECT_EQ(c.optimizer.warmup_steps, StepCount(2000));
  EXPECT_EQ(c.optimizer.decay_steps, StepCount(0.25));
  EXPECT_EQ(c.model.num_layers, ModelConfig{}.num_layers);
  EXPECT_EQ(parse_config("train.steps = 7\nmodel = {num_layers = 2}\n", "x").train.steps, 7);
}

TEST(ReadConfig, unknown_keys_are_told_with_the_nearest) {
  EXPECT_EQ(mistake_in("[train]\nsteps = 5\n  learnin_rate = 1\n"),
            "run.toml:3:3: unknown key 'learnin_rate' in [train]; the nearest known is "
            "'learning_rate' in [optimizer]");
  EXPECT_EQ(mistake_in("[data]\n\"\" = 1\n"),
            "run.toml:2:1: unknown key '' in [data]; known are train, validation, sequence_length, "
            "documents, sources, stages");
  EXPECT_EQ(mistake_in("[train]\nbatchsize = 5\n"),
            "run.toml:2:1: unknown key 'batchsize' in [train]; the nearest known is 'batch_size'");
  EXPECT_EQ(mistake_in("[train]\n\nlearning_rate = 5\n"),
            "run.toml:3:1: unknown key 'learning_rate' in [train]; it belongs in [optimizer]");
  EXPECT_EQ(mistake_in("[modle]\nhidden_size = 5\n"),
            "run.toml:1:2: unknown section [modle]; the nearest known is [model]");
  EXPECT_EQ(mistake_in("\nsteps = 5\n"),
            "run.toml:2:1: unknown section [steps]; 'steps' is a key of [train]");
  EXPECT_EQ(mistake_in("[zzzzzzzzzzzz]"),
            "run.toml:1:2: unknown section [zzzzzzzzzzzz]; known are model, data, train, "
            "optimizer, sft, dpo, lora, parallel, compute");
}

TEST(ReadConfig, tables_in_a_list) {
  const Config config = parse_config(R"([data]
sequence_length = 64
[[data.sources]]
path = "a"
weight = 2
[[data.sources]]
path = "b"
max_epochs = 4
[[data.stages]]
from_step = 10
weights = [1, 0.5]
)",
                                     "x");
  EXPECT_EQ(config.data.sources, (std::vector<DataSource>{{"a", 2, 0}, {"b", 1, 4}}));
  EXPECT_EQ(config.data.stages, (std::vector<DataStage>{{10, {1, 0.5}}}));
  EXPECT_EQ(config.data.sequence_length, 64);
  EXPECT_EQ(mistake_in("[[data.sources]]\npath = \"a\"\nwieght = 1\n"),
            "run.toml:1:1: data.sources[0]: unknown key 'wieght'; known are path, weight, "
            "max_epochs");
  EXPECT_EQ(mistake_in("[[data.sources]]\npath = 3\n"),
            "run.toml:1:1: data.sources[0].path must be a string in quotes; found the integer 3");
  EXPECT_EQ(mistake_in("[data]\nsources = [\"a\"]\n"),
            "run.toml:2:11: data.sources[0] must be a table such as { path = \"\", weight = 1.0, "
            "max_epochs = 0.0 }; found the string 'a'");
  EXPECT_EQ(mistake_in("[data]\nsources = \"a\"\n"),
            "run.toml:2:11: data.sources must be a list of tables such as { path = \"\", weight = "
            "1.0, max_epochs = 0.0 }; found the string 'a'");
}

TEST(ReadConfig, the_first_mistake_of_the_file_is_told) {
  EXPECT_TRUE(contains(mistake_in("[train]\nzz = 1\naa = 1\n[data]\nbb = 1\n"), "run.toml:2:1: "));
}

TEST(ReadConfig, values_of_another_type) {
  EXPECT_EQ(mistake_in("[train]\nsteps = 'many'"),
            "run.toml:2:9: train.steps must be an integer; found the string 'many'");
  EXPECT_EQ(mistake_in("[train]\nsteps = 1e3"),
            "run.toml:2:9: train.steps must be an integer; found the number 1000.0; write 1000");
  EXPECT_EQ(mistake_in("[train]\nsteps = 1.5"),
            "run.toml:2:9: train.steps must be an integer; found the number 1.5");
  EXPECT_EQ(mistake_in("[train]\noutput = 5"),
            "run.toml:2:10: train.output must be a string in quotes; found the integer 5");
  EXPECT_EQ(mistake_in("[optimizer]\neps = true"),
            "run.toml:2:7: optimizer.eps must be a number; found the boolean true");
  EXPECT_EQ(mistake_in("[optimizer]\nwarmup_steps = '5%'"),
            "run.toml:2:16: optimizer.warmup_steps must be a number of steps, or a share of "
            "the run below 1.0; found the string '5%'");
  EXPECT_EQ(mistake_in("[model]\ntie_embeddings = 1"),
            "run.toml:2:18: model.tie_embeddings must be true or false; found the integer 1");
  EXPECT_EQ(mistake_in("[optimizer]\nschedule = 'linear'"),
            "run.toml:2:12: optimizer.schedule must be wsd, cosine or constant; found the string "
            "'linear'");
  EXPECT_EQ(
      mistake_in("[model]\nattention = []"),
      "run.toml:2:13: model.attention must be bidirectional, causal or block_causal; found a list");
  EXPECT_EQ(mistake_in("[train]\nseed = 1979-05-27"),
            "run.toml:2:8: train.seed must be an integer; found a date or time");
  EXPECT_EQ(mistake_in("[train.steps]\nx = 1"),
            "run.toml:1:1: train.steps must be an integer; found a table");
  EXPECT_EQ(mistake_in("model = 3"),
            "run.toml:1:1: [model] must be a section; found the integer 3");
  EXPECT_EQ(mistake_in("[[model]]\nhidden_size = 3"),
            "run.toml:1:3: [model] must be a section; found a list");
}

TEST(ReadConfig, malformed_toml_is_told_with_line_and_column) {
  for (const char* text :
       {"[train]\nsteps = \n", "[train]\nsteps 5\n", "[train]\nsteps = 5 5\n", "[train]\n= 5\n",
        "[train]\noutput = \"a\n", "[train]\noutput = \"\\q\"\n", "[train]\n[model\n",
        "[train]\nsteps = 99999999999999999999\n", "[train]\noutput = \"\xff\"\n",
        "[train]\nsteps = 0x\n"})
    EXPECT_TRUE(mistake_in(text).starts_with("run.toml:2:")) << text << mistake_in(text);
}

TEST(ReadConfig, a_key_of_very_many_parts) {
  std::string key = "a", quoted = R"("a")", literal = "'a'";
  for (int i = 0; i < 200'000; ++i) {
    key += ".a";
    quoted += R"(. "a")";
    literal += ".'a'";
  }
  for (const std::string& text :
       {"\n" + key + " = 1", "\n[" + key + "]", "\n[[" + key + "]]", "\nx = {" + key + " = 1}",
        "\nx = [{" + key + " = 1}]", "\n" + quoted + " = 1", "\n" + literal + " = 1",
        "# it's\n" + key + " = 1", "x = \"\\\"\"\n" + key + " = 1"})
    EXPECT_EQ(mistake_in(text), "run.toml:2: a key has more than 100 parts; keys are section.key");
  // Points in texts and comments are none of a key.
  const std::string points(1000, '.');
  EXPECT_EQ(
      mistake_in("# " + points + "\n[train]\noutput = \"" + points + "\\\"" + points + "\" # " +
                 points + "\nsample_prompt = '''" + points + "'\n" + points + "'''\n"),
      "");
}

TEST(ReadConfig, a_key_twice) {
  EXPECT_TRUE(mistake_in("[train]\nsteps = 1\nsteps = 2\n").starts_with("run.toml:3:"));
  EXPECT_TRUE(contains(mistake_in("[train]\nsteps = 1\nsteps = 2\n"), "steps"));
  EXPECT_TRUE(mistake_in("[train]\n[model]\n[train]\n").starts_with("run.toml:3:"));
}

TEST(ReadConfig, reads_overrides_and_validates) {
  const Folder folder;
  const std::string path = folder.write("a.toml", "[train]\nsteps = 5000\n");
  EXPECT_EQ(read_config(path, {}).train.steps, 5000);
  EXPECT_EQ(read_config(path, {"train.steps=600", "train.steps=700"}).train.steps, 700);
  EXPECT_EQ(error_of<UsageError>([&] { read_config(path, {"train.steps=0"}); }),
            path + ": train.steps = 0 must be at least 1");
}

TEST(ReadConfig, files_that_cannot_be_read) {
  const Folder folder;
  const std::string missing = folder / "missing.toml";
  EXPECT_TRUE(contains(error_of<UsageError>([&] { read_config(missing, {}); }), missing));
  std::filesystem::create_directory(folder / "d");
  EXPECT_TRUE(contains(error_of<UsageError>([&] { read_config(folder / "d", {}); }), folder / "d"));
}

TEST(ReadConfig, the_configs_that_come_with_the_program) {
  int configs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(testing::source_path("configs"))) {
    if (entry.path().extension() != ".toml") continue;
    ++configs;
    for (const char* steps : {"train.steps=1", "train.steps=2", "train.steps=100"})
      EXPECT_EQ(error_of([&] { read_config(entry.path().string(), {steps}); }), "") << steps;
    EXPECT_EQ(error_of([&] { read_config(entry.path().string(), {}); }), "");
  }
  EXPECT_GE(configs, 1);
}

}  // namespace
}  // namespace lacuna
