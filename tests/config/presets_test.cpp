#include "config/presets.h"

#include <set>

#include "config/config.h"
#include "core/atomic_file.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::error_of;
using testing::Folder;

TEST(Presets, AreTheFilesOfConfigs) {
  std::set<std::string> names, files;
  for (const Preset& preset : presets()) {
    names.emplace(preset.name);
    EXPECT_EQ(preset.toml, read_file(testing::source_path(str("configs/", preset.name, ".toml"))));
  }
  for (const auto& entry : std::filesystem::directory_iterator(testing::source_path("configs")))
    if (entry.path().extension() == ".toml") files.insert(entry.path().stem().string());
  EXPECT_EQ(names, files);
  EXPECT_EQ(names, (std::set<std::string>{"quickstart", "block-diffusion", "sft", "lora", "dpo",
                                          "llada-1b", "llada-8b", "llada-8b-lora"}));
}

TEST(Presets, AreValid) {
  const Folder folder;
  for (const Preset& preset : presets()) {
    const std::string path = folder.write("c.toml", std::string(preset.toml));
    EXPECT_EQ(error_of([&] { read_config(path, {}); }), "") << preset.name;
  }
}

TEST(Presets, AreWhatTheirNamesSay) {
  const auto config = [](std::string_view name) {
    for (const Preset& preset : presets())
      if (preset.name == name) return parse_config(std::string(preset.toml), "preset");
    return Config();
  };
  EXPECT_EQ(config("quickstart").model.hidden_size, 128);
  // The quick start's model, so that its causal version is a checkpoint to begin with.
  ModelConfig blocks = config("block-diffusion").model;
  EXPECT_EQ(blocks.block_size, 16);
  blocks.block_size = 0;
  blocks.attention = Attention::bidirectional;
  EXPECT_EQ(blocks, config("quickstart").model);
  EXPECT_EQ(config("block-diffusion").train.block_sizes, (std::vector<std::int64_t>{1, 4, 16}));
  EXPECT_EQ(config("sft").lora.rank, 0);
  EXPECT_EQ(config("sft").train.epochs, 3);
  EXPECT_EQ(config("lora").lora.rank, 8);
  EXPECT_EQ(config("lora").model, ModelConfig());  // the checkpoint's
  EXPECT_EQ(config("dpo").dpo.mask_samples, 8);
  EXPECT_EQ(config("dpo").model, ModelConfig());
  EXPECT_EQ(config("llada-1b").model.hidden_size, 2048);
  EXPECT_EQ(config("llada-8b").model.num_layers, 32);
  EXPECT_EQ(config("llada-8b").compute.dtype, Precision::bf16);
  EXPECT_EQ(config("llada-8b-lora").model, config("llada-8b").model);
  EXPECT_EQ(config("llada-8b-lora").lora.rank, 16);
}

// docs/configuration.md shows what `lacuna config` prints; after a change of a key:
//   lacuna config, into the block between its ```toml and ```.
TEST(ConfigurationPage, ListsEveryKeyAsTheProgramDoes) {
  const std::string page = read_file(testing::source_path("docs/configuration.md"));
  const std::string opening = "```toml\n# lacuna config\n", closing = "```\n";
  const std::size_t begin = page.find(opening);
  ASSERT_NE(begin, std::string::npos);
  const std::size_t from = begin + opening.size();
  EXPECT_EQ(page.substr(from, page.find(closing, from) - from), config_help());
}

TEST(ConfigHelp, StatesTheDefaultNumberOfSteps) {
  EXPECT_TRUE(testing::contains(config_help(), str("or ", TrainConfig::kDefaultSteps, " without")));
}

}  // namespace
}  // namespace lacuna
