#include <cmath>

#include "app/command_line.h"
#include "app/commands.h"
#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "formats/hdf5.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A checkpoint of the weights of a case of scripts/golden/model.py.
class Forward : public ::testing::Test {
 protected:
  Forward() : golden_("model_full") {
    Config config;
    config.model.vocab_size = number("vocab_size");
    config.model.num_layers = number("layers");
    config.model.hidden_size = number("width");
    config.model.num_heads = number("heads");
    config.model.num_kv_heads = number("kv_heads");
    config.model.intermediate_size = number("ffn_width");
    config.model.max_seq_length = 8;
    CheckpointInfo info;
    info.config = to_toml(config);
    CheckpointTensors tensors;
    const std::string group = "weights/";
    for (const std::string& name : golden_.names())
      if (name.starts_with(group))
        tensors.model.push_back({name.substr(group.size()), golden_[name]});
    save_checkpoint(checkpoint(), info, tensors);
  }
  std::int64_t number(const char* key) const { return std::stoll(golden_.metadata(key)); }
  std::string checkpoint() const { return folder_ / "model.h5"; }

  void run(const std::string& tokens, const std::string& output, const std::string& from) const {
    CommandLine line("lacuna", "");
    add_forward_command(line.program());
    const char* arguments[] = {"lacuna",       "forward",  "--checkpoint", from.c_str(), "--tokens",
                               tokens.c_str(), "--output", output.c_str(), "--threads",  "1"};
    line.run(int(std::size(arguments)), arguments);
  }
  std::string usage_error(const std::string& tokens) const {
    return error_of<UsageError>([&] { run(tokens, folder_ / "no.h5", checkpoint()); });
  }

  Folder folder_;
  Golden golden_;
};

TEST_F(Forward, LogitsArePyTorchs) {
  // The third of the sequences, rows 6 to 12, of which 6, 7 and 12 are at 3 to 5 of the golden
  // rows.
  const std::int32_t* ids = golden_["tokens"].as<std::int32_t>() + 6;
  std::string tokens;
  for (int i = 0; i < 7; ++i) tokens += str(i % 2 ? ", " : " ", ids[i]);
  const std::string output = folder_ / "deep/er/logits.h5";
  run(tokens, output, checkpoint());

  const h5::File file = h5::File::open(output);
  const std::int64_t V = number("vocab_size");
  ASSERT_EQ(file.shape("/logits"), (Shape{7, V}));
  std::vector<float> logits(std::size_t(7 * V));
  file.read("/logits", Tensor(logits.data(), {7, V}));
  const Tensor golden_rows = golden_["rows"], golden = golden_["logits"];
  for (std::int64_t m = 3; m < 6; ++m) {
    const std::int64_t row = golden_rows.as<std::int32_t>()[m] - 6;
    for (std::int64_t v = 0; v < V; ++v) {
      // Logits are of size 1 to 10; f32 through 13 products (tests/model/golden_test.cpp).
      EXPECT_NEAR(double(logits[std::size_t(row * V + v)]), golden.as<double>()[m * V + v], 1e-4)
          << "row " << row << ", token " << v;
    }
  }
}

TEST_F(Forward, WrongTokens) {
  EXPECT_TRUE(
      contains(usage_error("1 2 23"), "'23' is not a token of the model; ids go from 0 to 22"));
  EXPECT_TRUE(contains(usage_error("1 -2"), "'-2' is not a token"));
  EXPECT_TRUE(contains(usage_error("1 2x"), "'2x' is not a token"));
  EXPECT_TRUE(contains(usage_error("99999999999999999999"), "is not a token"));
  EXPECT_TRUE(contains(usage_error(" , "), "give at least one token"));
  EXPECT_TRUE(contains(usage_error("1 2 3 4 5 6 7 8 9"), "9 tokens; the model takes at most 8"));
  EXPECT_EQ(folder_.files(), std::vector<std::string>{"model.h5"});
}

TEST_F(Forward, WrongFiles) {
  const auto error = [&](const std::string& output, const std::string& from) {
    return error_of([&] { run("1 2", output, from); });
  };
  EXPECT_TRUE(contains(error(folder_ / "x.h5", folder_ / "missing.h5"), "missing.h5"));
  const std::string not_hdf5 = folder_.write("text.h5", "not a checkpoint");
  EXPECT_TRUE(contains(error(folder_ / "x.h5", not_hdf5), "text.h5"));
  EXPECT_TRUE(contains(error(not_hdf5 + "/x.h5", checkpoint()), "text.h5"));
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"model.h5", "text.h5"}));
}

}  // namespace
}  // namespace lacuna
