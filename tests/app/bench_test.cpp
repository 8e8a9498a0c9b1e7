// lacuna bench --generate: what is counted, not how long it takes.
#include <nlohmann/json.hpp>

#include "tests/app/program.h"

namespace lacuna {
namespace {

using testing::fails;
using testing::Folder;
using testing::Program;

class BenchGenerate : public ::testing::Test {
 protected:
  nlohmann::json run(std::vector<std::string> options) {
    std::vector<std::string> arguments = {"bench", "--generate", "--json", "--rounds", "1"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    Program program(arguments);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return nlohmann::json::parse(program.out());
  }
  std::string config(const std::string& more = "") {
    return folder_.write(
        "c.toml",
        "[model]\nvocab_size = 50\nnum_layers = 2\nhidden_size = 16\nnum_heads = 2\n"
        "intermediate_size = 24\nmax_seq_length = 64\n" +
            more);
  }
  Folder folder_;
};

TEST_F(BenchGenerate, CountsPassesRowsAndTokens) {
  const auto r = run({"--config", config("[data]\nsequence_length = 64\n"), "--prompt-length", "10",
                      "--gen-length", "12", "--steps", "6", "--batch", "3"});
  EXPECT_EQ(r["passes"], 6);
  EXPECT_EQ(r["rows"], 6 * 3 * 22);
  EXPECT_EQ(r["tokens"], 3 * 12);
  EXPECT_EQ(r["tokens_per_pass"], 6.0);
  // Two fewer are masked each time, but for those where the model predicts the mask itself.
  EXPECT_GE(r["logit_rows"], 3 * (12 + 10 + 8 + 6 + 4 + 2));
  EXPECT_LT(r["logit_rows"], 6 * 3 * 12);
  EXPECT_GT(r["tokens_per_second"], 0);
  EXPECT_NEAR(r["tokens_per_second"].get<double>() * r["ms_per_pass"].get<double>(),
              1e3 * r["tokens_per_pass"].get<double>(), 1e-6 * 6000);
  EXPECT_GT(r["flops_per_s"], 0);
  EXPECT_GT(r["matmul_peak_flops"], 0);
}

TEST_F(BenchGenerate, BlocksAskForTheirOwnRows) {
  const auto r = run({"--config", config("[data]\nsequence_length = 64\n"), "--prompt-length", "4",
                      "--gen-length", "8", "--steps", "8", "--block-length", "4"});
  EXPECT_EQ(r["passes"], 8);
  EXPECT_GE(r["logit_rows"], 2 * (4 + 3 + 2 + 1));
  EXPECT_LT(r["logit_rows"], 8 * 8);
  EXPECT_EQ(r["rows"], 8 * 12);
}

TEST_F(BenchGenerate, ACausalModelGoesFromLeftToRight) {
  const auto r = run({"--config",
                      config("attention = \"causal\"\n[data]\nsequence_length = 64\n[train]\n"
                             "objective = \"autoregressive\"\n"),
                      "--prompt-length", "5", "--gen-length", "4"});
  EXPECT_EQ(r["passes"], 4);
  EXPECT_EQ(r["rows"], 5 + 1 + 1 + 1);  // keys and values are kept
  EXPECT_EQ(r["logit_rows"], 4);
}

TEST_F(BenchGenerate, MistakesOfTheCommandLine) {
  EXPECT_TRUE(fails({"bench", "--gen-length", "8"}, 2, "--gen-length requires --generate"));
  EXPECT_TRUE(fails({"bench", "--generate", "--train"}, 2, "excludes"));
  EXPECT_TRUE(fails({"bench", "--generate", "--shape", "6m"}, 2, "there is no shape"));
  EXPECT_TRUE(fails({"bench", "--generate", "--config", config("[data]\nsequence_length = 64\n"),
                     "--prompt-length", "64"},
                    2, "--prompt-length 64 leaves no room"));
  EXPECT_TRUE(fails({"bench", "--generate", "--shape", "5m", "--steps", "7", "--block-length", "4"},
                    2, "--steps 7 cannot be shared evenly"));
  EXPECT_TRUE(fails({"bench", "--generate", "none.h5"}, 1, "none.h5: no such checkpoint"));
}

}  // namespace
}  // namespace lacuna
