// A checkpoint that version 0.1.0 wrote before keys of the configuration were renamed
// (tests/golden/earlier_keys.h5: step 300 of a run of 310), and what that version made of it.
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/text.h"
#include "tests/app/program.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"
#include "tests/training/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::Folder;
using testing::output_of;
using testing::Program;

const std::string kCheckpoint = testing::golden_path("earlier_keys.h5");

TEST(EarlierKeys, IsOfTheKindThatTheTestIsAbout) {
  const std::string config = CheckpointReader(kCheckpoint).info().config;
  for (const char* line : {"\nwidth = 16\n", "\nnorm_eps = 1e-06\n", "\ntied_embeddings = true\n",
                           "\nlora_targets = \"q_proj,v_proj\"\n", "\nzero = 0\n"})
    EXPECT_TRUE(contains(config, line)) << config;
}

TEST(EarlierKeys, SamplesTheSame) {
  EXPECT_EQ(
      output_of({"sample", kCheckpoint, "--prompt", "abcd", "--gen-length", "12", "--steps", "12"}),
      "efghabcdefghab\n");
}

TEST(EarlierKeys, IsInspectedAndExported) {
  const Folder folder;
  const std::string report = output_of({"inspect", kCheckpoint});
  EXPECT_TRUE(contains(report, "2 heads (1 for keys and values)")) << report;
  EXPECT_TRUE(contains(report, "tied embeddings")) << report;
  output_of({"export", kCheckpoint, "--format", "safetensors", "--output", folder / "hf"});
  const auto config = nlohmann::json::parse(read_file(folder / "hf/config.json"));
  EXPECT_EQ(config["d_model"], 16);
  EXPECT_EQ(config["n_kv_heads"], 1);
  EXPECT_EQ(config["mlp_hidden_size"], 24);
  EXPECT_EQ(config["rms_norm_eps"], 1e-6);
  EXPECT_EQ(config["weight_tying"], true);
}

TEST(EarlierKeys, ResumesTraining) {
  const Folder folder;
  // The corpus and the tokenizer of that run.
  std::string text;
  for (int line = 0; line < 60; ++line) {
    for (int i = 0; i < 12; ++i) text += "abcdefgh";
    if (line < 59) text += "\n\n";
  }
  folder.write("text.txt", text);
  output_of({"tokenizer", "train", "--input", folder / "text.txt", "--vocab-size", "264",
             "--output", folder / "tokenizer.json"});
  output_of({"prepare", "--tokenizer", folder / "tokenizer.json", "--input", folder / "text.txt",
             "--output", folder / "train.h5"});
  fs::create_directories(folder / "run/checkpoints");
  fs::copy(kCheckpoint, folder / "run/checkpoints/step-00000300.h5");
  const std::string config = folder.write("c.toml", R"([model]
num_layers = 1
hidden_size = 16
num_heads = 2
num_kv_heads = 1
intermediate_size = 24
max_seq_length = 16
rms_norm_eps = 1e-6
tie_embeddings = true
[data]
train = ")" + folder / "train.h5" + R"("
sequence_length = 16
[train]
output = ")" + folder / "run" + R"("
steps = 310
batch_size = 8
micro_batch_size = 4
log_every = 1
checkpoint_every = 300
[optimizer]
learning_rate = 1e-2
min_learning_rate = 1e-3
[compute]
threads = 1
attention_kernels = "portable"
)");
  Program program({"pretrain", config, "--resume"});
  ASSERT_EQ(program.wait(), 0) << program.err();
  // All keys have the values they had, but the file of the data.
  EXPECT_TRUE(contains(program.err(), "changed since: data.train")) << program.err();
  EXPECT_EQ(program.err().find("changed since: ", program.err().find("changed since: ") + 1),
            std::string::npos)
      << program.err();
  const double losses[] = {0.7949186302157882, 0.44197446714458,   0.5123473598054222,
                           0.414331254701712,  1.1454815465482975, 0.5868124429444845,
                           0.6458806350754324, 0.7510157014019437, 0.5766661357994514,
                           0.35840960318572745};
  const auto lines = testing::json_lines(folder / "run/metrics.jsonl");
  ASSERT_EQ(lines.size(), std::size(losses));
  for (std::size_t i = 0; i < lines.size(); ++i)  // processors differ by rounding
    EXPECT_NEAR(lines[i]["loss"].get<double>(), losses[i], 1e-4 * losses[i]) << i;
  const std::string stored =
      CheckpointReader(folder / "run/checkpoints/step-00000310.h5").info().config;
  EXPECT_TRUE(contains(stored, "\nhidden_size = 16\n")) << stored;
  EXPECT_FALSE(contains(stored, "\nwidth")) << stored;
}

}  // namespace
}  // namespace lacuna
