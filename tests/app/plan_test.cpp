// lacuna plan, as a user runs it.
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/input_file.h"
#include "core/machine.h"
#include "tests/app/program.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::fails;
using testing::Folder;
using testing::output_of;
using testing::Program;

std::string config(const std::string& name) {
  return testing::source_path("configs/" + name + ".toml");
}

TEST(Plan, EveryConfigThatComesWithTheProgramFits) {
  std::vector<std::string> arguments = {"plan"};
  for (const auto& entry : fs::recursive_directory_iterator(testing::source_path("configs")))
    if (entry.path().extension() == ".toml") arguments.push_back(entry.path().string());
  ASSERT_GE(arguments.size(), 5u);
  const std::string text = output_of(arguments);
  for (std::size_t i = 1; i < arguments.size(); ++i) EXPECT_TRUE(contains(text, arguments[i]));
}

TEST(Plan, TheFewestRanksAreChosen) {
  const std::string text = output_of({"plan", config("llada-8b")});
  EXPECT_TRUE(contains(text, "on 8 ranks, the fewest that hold it: 8 data parallel x 1 tensor"));
  EXPECT_TRUE(contains(text, "1 node of 8"));
  EXPECT_TRUE(contains(text, "runtime"));
  EXPECT_TRUE(contains(text, "GiB of 79.0 GiB"));
  EXPECT_TRUE(contains(output_of({"plan", config("llada-8b"), "--ranks", "16"}), "2 nodes of 8"));
  EXPECT_TRUE(fails({"plan", config("llada-8b"), "--ranks", "4"}, 1,
                    "does not fit on 4 ranks: a rank needs "));
  EXPECT_TRUE(fails({"plan", config("llada-8b"), "--ranks", "1"}, 1, "does not fit on 1 rank: "));
}

TEST(Plan, EpochsNeedTheDataToBecomeSteps) {
  const Folder folder;
  const std::string path = folder.write("c.toml", "[train]\nepochs = 3\n");
  const std::string text = output_of({"plan", path, "--set", "data.train=none"});
  EXPECT_TRUE(contains(text,
                       "assumed: no number of steps: train.epochs = 3 are passes over "
                       "data.train = none"));
  EXPECT_FALSE(contains(text, " steps take "));
}

// A run on a CPU is measured by this machine, not by a GPU.
TEST(Plan, ACpusFiguresAreThisMachines) {
  const std::vector<std::string> run = {"plan", "--config", config("quickstart"), "--set",
                                        "data.train=none"};
  const std::string text = output_of(run);
  for (const char* part : {"assumed: the vocabulary is that of data.train = none",
                           " on 1 rank: ", "what GEMMs reach here", " 2,000 steps take "})
    EXPECT_TRUE(contains(text, part));
  for (const char* part : {"GB/s", "TFLOP", "waiting", "sent", "runtime", "1 ranks", "e-0"})
    EXPECT_FALSE(contains(text, part)) << part;
  std::vector<std::string> with_json = run;
  with_json.insert(with_json.end(), {"--json", "--tflops", "0.5", "--ranks", "2"});
  const auto json = nlohmann::json::parse(output_of(with_json));
  EXPECT_LE(json["memory_available"].get<std::int64_t>(), usable_memory() / 2);
  EXPECT_EQ(json["flops_per_s"], 0.5e12);
  EXPECT_EQ(json["data"], 2);
  std::int64_t sum = 0;
  for (const auto& [kind, bytes] : json["memory"].items())
    if (kind != "together") sum += bytes.get<std::int64_t>();
  EXPECT_EQ(json["memory"]["together"], sum);
  EXPECT_DOUBLE_EQ(json["step_seconds"].get<double>(),
                   json["compute_seconds"].get<double>() + json["waiting_seconds"].get<double>());
}

TEST(Plan, ASweepHasARowPerNumberOfRanks) {
  const std::vector<std::string> run = {"plan", config("llada-8b"), "--sweep", "4,64,2000"};
  const std::string text = output_of(run);
  EXPECT_TRUE(contains(text, "!: more than the 79.0 GiB of a rank"));
  EXPECT_TRUE(contains(text, "too small for 2000 data parallel ranks"));
  std::vector<std::string> with_json = run;
  with_json.push_back("--json");
  std::istringstream lines(output_of(with_json));
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["fits"], false);
  EXPECT_EQ(rows[1]["fits"], true);
  EXPECT_TRUE(rows[2].contains("refused"));
  const auto alone =
      nlohmann::json::parse(output_of({"plan", config("llada-8b"), "--ranks", "64", "--json"}));
  EXPECT_EQ(rows[1]["step_seconds"], alone["step_seconds"]);
  EXPECT_EQ(rows[1]["memory"], alone["memory"]["together"]);
  for (const char* list : {"8,", ",8", "8,x", "0", "8 16", "-1"})
    EXPECT_TRUE(fails({"plan", config("llada-8b"), "--sweep", list}, 2, "must be numbers of ranks"))
        << list;
}

// 14 bytes of each of 8,015,581,184 weights: bf16, an f32 master, two moments.
TEST(Plan, AdvisesHowOftenToSave) {
  const auto checkpoint = [](const std::vector<std::string>& further) {
    std::vector<std::string> words = {
        "plan", config("llada-8b"), "--ranks", "64",    "--json",          "--mtbf",
        "64",   "--tflops",         "400",     "--set", "train.steps=1000"};
    words.insert(words.end(), further.begin(), further.end());
    return nlohmann::json::parse(output_of(words))["checkpoint"];
  };
  const auto between_steps =  // by 8 nodes
      checkpoint({"--disk-bandwidth", "14", "--set", "train.async_checkpoint=false"});
  EXPECT_EQ(between_steps["bytes"], 112218136576);
  const double seconds = 112218136576 / (8 * 14e9);
  EXPECT_NEAR(between_steps["stall_seconds"].get<double>(), seconds, 1e-9);
  // A failure an hour.
  const double interval = std::sqrt(2 * seconds * 3600);
  EXPECT_NEAR(between_steps["best_interval_seconds"].get<double>(), interval, 1e-6);
  EXPECT_NEAR(between_steps["lost_share"].get<double>(), interval / 3600, 1e-9);
  const auto async = checkpoint({"--disk-bandwidth", "14"});
  EXPECT_EQ(async["written_seconds"], between_steps["written_seconds"]);
  EXPECT_NEAR(async["stall_seconds"].get<double>(), 112218136576 / 64 / 10e9, 1e-9);
  // Not more often than one can be written.
  EXPECT_EQ(checkpoint({"--disk-bandwidth", "0.01", "--set",
                        "train.async_checkpoint=true"})["best_interval_seconds"],
            112218136576 / (8 * 0.01e9));
}

// By 400 TFLOP/s of a peak of 989.4.
TEST(Plan, AGpuByItsName) {
  const auto plan = [](std::vector<std::string> further) {
    std::vector<std::string> words = {"plan",  config("llada-1b"), "--ranks", "16", "--json",
                                      "--set", "train.steps=1000"};
    words.insert(words.end(), further.begin(), further.end());
    return nlohmann::json::parse(output_of(words));
  };
  EXPECT_EQ(plan({"--gpu", "h100"}), plan({}));
  const auto a100 = plan({"--gpu", "a100"});
  EXPECT_DOUBLE_EQ(a100["flops_per_s"].get<double>(), 400e12 * 312 / 989.4);
  auto given = plan({"--tflops", "126.13705275924", "--network-bandwidth", "20"});
  EXPECT_NEAR(a100["step_seconds"].get<double>(), given["step_seconds"].get<double>(), 1e-6);
  EXPECT_EQ(plan({"--gpu", "rtx4090", "--memory", "48GB"})["memory_available"],
            std::int64_t{48} << 30);
  EXPECT_TRUE(
      fails({"plan", config("llada-1b"), "--gpu", "rtx4090", "--ranks", "1"}, 1, "of 23.0 GiB"));
  EXPECT_TRUE(fails({"plan", config("llada-1b"), "--gpu", "tpu"}, 2, "--gpu"));
  const std::vector<std::string> fp8 = {"plan", config("llada-8b"), "--set",
                                        "compute.linear_dtype=fp8", "--gpu"};
  const auto of = [&](const char* gpu) {
    std::vector<std::string> arguments = fp8;
    arguments.emplace_back(gpu);
    return arguments;
  };
  EXPECT_TRUE(fails(of("a100"), 2, "needs a GPU of sm_89 or newer, not --gpu a100"));
  EXPECT_TRUE(contains(output_of(of("h200")), "products in FP8 1.58 times as fast (assumed)"));
  EXPECT_TRUE(fails({"plan", config("quickstart"), "--gpu", "h100"}, 2, "compute.device"));
}

/// The cells of a row of a table in Markdown, without spaces and backticks around them.
std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> cells;
  for (std::size_t at = 1, end = 0; (end = row.find('|', at)) != std::string::npos; at = end + 1) {
    std::string cell = row.substr(at, end - at);
    std::erase_if(cell, [](char c) { return c == '`' || c == ','; });
    cells.push_back(cell.substr(1, cell.size() - 2));
  }
  return cells;
}

// "| `llada-8b` | 64 `h100` | `parallel.zero_stage=3` | 63.5 GiB | 8,127 | 34.2 |"
TEST(Plan, TheCostsInTheDocumentationAreItsOwn) {
  std::istringstream text(read_file(testing::source_path("docs/multi-node.md")));
  int rows = 0;
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with("| `llada-") || !line.ends_with(" |")) continue;
    const std::vector<std::string> cells = cells_of(line);
    if (cells.size() != 6) continue;
    ++rows;
    std::istringstream gpus(cells[1]);
    std::string ranks, gpu;
    gpus >> ranks >> gpu;
    std::vector<std::string> words = {"plan", config(cells[0]), "--json", "--ranks",
                                      ranks,  "--gpu",          gpu};
    std::istringstream settings(cells[2]);
    for (std::string setting; cells[2] != "as shipped" && settings >> setting;)
      words.insert(words.end(), {"--set", setting});
    const auto plan = nlohmann::json::parse(output_of(words));
    const double gib = plan["memory"]["together"].get<double>() / double(1 << 30),
                 each = plan["tokens_per_second"].get<double>() / std::stod(ranks);
    EXPECT_NEAR(std::stod(cells[3]), gib, 0.051) << line;
    EXPECT_NEAR(std::stod(cells[4]), each, 0.51) << line;
    EXPECT_NEAR(std::stod(cells[5]) * each * 3600 / 1e9, 1, 0.005) << line;
  }
  EXPECT_GE(rows, 10);
}

TEST(Plan, MistakesOfTheCommandLine) {
  EXPECT_TRUE(fails({"plan"}, 2, "--config is required"));
  EXPECT_TRUE(fails({"plan", "none.toml"}, 2, "none.toml"));
  EXPECT_TRUE(fails({"plan", config("quickstart"), "--tflops", "0"}, 2, "--tflops"));
}

}  // namespace
}  // namespace lacuna
