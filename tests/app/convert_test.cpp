// lacuna import, export and inspect, as a user runs them.
#include <cmath>

#include "checkpoint/hugging_face.h"
#include "core/half.h"
#include "data/token_file.h"
#include "formats/hdf5.h"
#include "formats/safetensors.h"
#include "tests/app/program.h"
#include "tests/checkpoint/hugging_face_support.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using namespace testing;  // NOLINT

class Convert : public ::testing::Test {
 protected:
  Convert() { import_hugging_face(from_.path(), checkpoint()); }
  std::string checkpoint() const { return folder_ / "k.h5"; }

  LladaFolder from_{DType::bf16};
  Folder folder_;
};

TEST_F(Convert, ImportThenExport) {
  output_of({"import", "--from", from_.path(), "--output", folder_ / "i.h5"});
  output_of({"export", "--checkpoint", folder_ / "i.h5", "--format", "safetensors", "--output",
             folder_ / "out", "--shard-size", "1.2KB"});
  const SafetensorsFolder out(folder_ / "out");
  for (const NamedTensor& t : from_.tensors)
    EXPECT_TRUE(same(out.view(t.name), t.tensor)) << t.name;
  EXPECT_EQ(read_file(folder_ / "out/config.json"), kLladaConfig);
  EXPECT_TRUE(fs::exists(folder_ / "out/model.safetensors.index.json"));
}

TEST_F(Convert, ARunStandsForItsNewestCheckpoint) {
  fs::create_directories(folder_ / "run/checkpoints");
  fs::copy_file(checkpoint(), checkpoint_path(folder_ / "run", 3));
  EXPECT_TRUE(contains(output_of({"export", "--checkpoint", folder_ / "run", "--format",
                                  "safetensors", "--output", folder_ / "out", "--dtype", "f32"}),
                       "step-00000003.h5"));
  EXPECT_EQ(SafetensorsFolder(folder_ / "out").view(from_.tensors[0].name).dtype, DType::f32);
  EXPECT_TRUE(contains(output_of({"inspect", folder_ / "run"}), "step-00000003.h5: a checkpoint"));
}

TEST_F(Convert, Gguf) {
  EXPECT_TRUE(contains(output_of({"export", "--checkpoint", checkpoint(), "--format", "gguf",
                                  "--output", folder_ / "m.gguf"}),
                       "m.gguf: "));
  EXPECT_TRUE(read_file(folder_ / "m.gguf").starts_with("GGUF"));
  fs::create_directory(folder_ / "out");
  EXPECT_TRUE(contains(output_of({"export", "--checkpoint", checkpoint(), "--format", "gguf",
                                  "--dtype", "f32", "--output", folder_ / "out"}),
                       "model.gguf: "));
  // bf16 as stored is half of f32, but for the header and norms.
  EXPECT_LT(fs::file_size(folder_ / "m.gguf"), fs::file_size(folder_ / "out/model.gguf"));
}

// Wherever a checkpoint is asked for a Hugging Face folder serves, read where it lies; and as the
// first argument, too.
TEST_F(Convert, AHuggingFaceFolderStandsForACheckpoint) {
  fs::remove(from_.folder / "tokenizer.json");  // it lacks bytes that text would need
  for (const NamedTensor& t : from_.tensors)    // finite numbers, which random bits may not be
    for (std::int64_t i = 0; i < t.tensor.count(); ++i)
      t.tensor.as<BFloat16>()[i] = to_bf16(float(std::sin(double(i + 1))) / 4);
  write_safetensors(from_.folder / "model.safetensors", from_.tensors, {{"format", "pt"}});
  fs::remove(checkpoint());
  import_hugging_face(from_.path(), checkpoint());
  const auto both = [&](const std::vector<std::string>& command,
                        const std::vector<std::string>& options) {
    std::string outputs[2];
    for (const bool folder : {false, true}) {
      std::vector<std::string> arguments = command;
      arguments.push_back(folder ? from_.path() : checkpoint());
      arguments.insert(arguments.end(), options.begin(), options.end());
      outputs[folder] = output_of(arguments);
    }
    EXPECT_FALSE(outputs[0].empty());
    EXPECT_EQ(outputs[0], outputs[1]) << command[0];
  };
  both({"sample"}, {"--tokens", "1 2", "--gen-length", "8", "--ids"});
  both({"score", "--checkpoint"}, {"--tokens", "1 2 3 4", "--samples", "4"});
  output_of({"forward", from_.path(), "--tokens", "1 2 3", "--output", folder_ / "a.h5"});
  output_of({"forward", checkpoint(), "--tokens", "1 2 3", "--output", folder_ / "b.h5"});
  const auto logits_of = [&](const char* file) {  // h5 objects carry their times
    std::vector<float> logits(std::size_t{3 * 16});
    h5::File::open(folder_ / file).read("/logits", Tensor(logits.data(), {3, 16}));
    return logits;
  };
  EXPECT_EQ(logits_of("a.h5"), logits_of("b.h5"));
  for (const char* format : {"gguf", "safetensors"})
    for (const bool folder : {false, true})
      output_of({"export", folder ? from_.path() : checkpoint(), "--format", format, "--output",
                 folder_ / (str(format, folder))});
  EXPECT_EQ(read_file(folder_ / "gguf0"), read_file(folder_ / "gguf1"));
  for (const char* file : {"model.safetensors", "config.json"})
    EXPECT_EQ(read_file(folder_ / "safetensors0/" + file),
              read_file(folder_ / "safetensors1/" + file));
}

TEST_F(Convert, InspectAGgufFile) {
  output_of({"export", checkpoint(), "--format", "gguf", "--output", folder_ / "m.gguf"});
  for (const std::string& named : {folder_ / "m.gguf", folder_ / "only"}) {
    if (named == folder_ / "only") {
      fs::create_directory(named);
      fs::copy_file(folder_ / "m.gguf", named + "/m.gguf");
    }
    const std::string text = output_of({"inspect", "--tensors", "--verify", named});
    for (const char* part : {"m.gguf: a GGUF file, version 3, ", "1,256 in 21 tensors, bf16, f32",
                             "general.architecture", "  llada\n", "llada.block_count", "  2\n",
                             // Its tokenizer lacks bytes, so the file has no vocabulary.
                             "tokenizer.ggml.model", "  no_vocab\n", "blk.1.ffn_down.weight",
                             "  [8,12]  bf16  192 B", "this format has none"})
      EXPECT_TRUE(contains(text, part));
  }
  const std::string whole = read_file(folder_ / "m.gguf");
  EXPECT_TRUE(fails({"inspect", folder_.write("cut.gguf", whole.substr(0, whole.size() - 40))}, 1,
                    "cut.gguf: is cut short or damaged"));
}

TEST_F(Convert, InspectAFolderOfSafetensors) {
  const std::string weights = read_file(from_.folder / "model.safetensors");
  fs::create_directory(folder_ / "adapters");
  folder_.write("adapters/a.safetensors", weights);
  folder_.write("adapters/b.safetensors", weights);
  const std::string text = output_of({"inspect", "--tensors", folder_ / "adapters"});
  for (const char* part : {"adapters: a folder of safetensors files", "a.safetensors, 21 tensors",
                           "b.safetensors, 21 tensors", "2,512 in 42 tensors, bf16",
                           "model.transformer.blocks.1.ff_out.weight"})
    EXPECT_TRUE(contains(text, part));
  fs::create_directory(folder_ / "empty");
  EXPECT_TRUE(fails({"inspect", folder_ / "empty"}, 1, "empty: holds no valid checkpoint"));
}

TEST_F(Convert, MistakesOfTheCommandLine) {
  const std::vector<std::string> start = {"export", "--checkpoint", checkpoint(), "--output",
                                          folder_ / "out"};
  const auto refused = [&](std::vector<std::string> more, const std::string& part) {
    std::vector<std::string> arguments = start;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return fails(arguments, 2, part);
  };
  EXPECT_TRUE(refused({}, "--format is required"));
  EXPECT_TRUE(refused({"--format", "safetensors", "--dtype", "q8_0"}, "safetensors has no such"));
  EXPECT_TRUE(refused({"--format", "onnx"}, "onnx not in {safetensors,gguf,peft}"));
  EXPECT_TRUE(refused({"--format", "safetensors", "--dtype", "f64"},
                      "f64 not in {f32,bf16,f16,q8_0,q4_0,q4_k,q5_k,q6_k}"));
  for (const char* size : {"0", "-5", "nan", "inf", "5Gb", "", "1e30", "GB", "5 5"})
    EXPECT_TRUE(refused({"--format", "safetensors", "--shard-size", size}, "--shard-size"));
  EXPECT_TRUE(fails({"import", "--output", "x"}, 2, "--from is required"));
  EXPECT_TRUE(fails({"import", "--from", from_.path(), "--output", ""}, 2, "no file was named"));
  EXPECT_TRUE(fails({"inspect"}, 2, "file is required"));
  EXPECT_TRUE(fails({"inspect", ""}, 2, "no file was named"));
  EXPECT_TRUE(fails({"inspect", "--config", "--tokenizer", checkpoint()}, 2, "excludes"));
  EXPECT_EQ(folder_.files(), std::vector<std::string>{"k.h5"});
}

TEST_F(Convert, FilesThatAreNot) {
  EXPECT_TRUE(fails({"import", "--from", folder_ / "none", "--output", folder_ / "x.h5"}, 1,
                    "none: no such folder"));
  EXPECT_TRUE(fails({"sample", from_.folder / "model.safetensors"}, 1,
                    "model.safetensors: holds weights alone; name the folder"));
  output_of({"export", checkpoint(), "--format", "gguf", "--output", folder_ / "m.gguf"});
  EXPECT_TRUE(fails({"sample", folder_ / "m.gguf"}, 2, "m.gguf: holds no tokenizer"));
  EXPECT_TRUE(fails({"inspect", folder_ / "none"}, 1, "none: "));
  EXPECT_TRUE(
      fails({"inspect", folder_.write("text", "text")}, 1,
            "is neither an HDF5 file (checkpoint, token file) nor a safetensors or GGUF file"));
  EXPECT_TRUE(fails({"inspect", "/dev/null"}, 1, "is not a regular file"));
}

TEST_F(Convert, AFullDisk) {
  EXPECT_TRUE(fails({"import", "--from", from_.path(), "--output", folder_ / "x.h5"}, 1,
                    "File too large", 3000));
  EXPECT_TRUE(fails({"export", "--checkpoint", checkpoint(), "--format", "safetensors", "--output",
                     folder_ / "out"},
                    1, "File too large", 2000));
  EXPECT_EQ(folder_.files(), std::vector<std::string>{"k.h5"});
}

TEST_F(Convert, InspectACheckpoint) {
  const std::string text = output_of({"inspect", "--tensors", "--verify", checkpoint()});
  for (const std::string& part :
       {checkpoint() + ": a checkpoint, version 1, ",
        std::string("2 layers, width 8, 4 heads (2 for keys and values), feed-forward 12, length "
                    "64, vocabulary 16, bidirectional attention"),
        // Embedding and head 2 · 16 · 8, norm 8, and 2 blocks of 2 · 8 (norms), 64 + 32 + 32 + 64
        // (attention) and 3 · 96 (feed-forward).
        std::string("1,256 in 21 tensors, bf16"), std::string("no states"),
        std::string("from a Hugging Face folder"), str(from_.tensors.size(), " datasets match"),
        std::string("/model/model.transformer.blocks.1.ff_out.weight     [8,12]")})
    EXPECT_TRUE(contains(text, part));
  EXPECT_EQ(output_of({"inspect", "--config", checkpoint()}),
            CheckpointReader(checkpoint()).info().config);
  EXPECT_EQ(output_of({"inspect", "--tokenizer", checkpoint()}), kTokenizer);
}

TEST_F(Convert, InspectNamesEveryDamagedDataset) {
  std::string content = read_file(checkpoint());
  for (const std::size_t damaged : {0, 3}) {
    const Tensor& t = from_.tensors[damaged].tensor;
    const auto place =
        content.find(std::string(static_cast<char*>(t.data), std::size_t(t.bytes())));
    ASSERT_NE(place, std::string::npos);
    content[place + 5] = char(content[place + 5] ^ 4);
  }
  const std::string path = folder_.write("damaged.h5", content);
  output_of({"inspect", path});  // what it holds can be told
  const std::string first = from_.tensors[0].name, second = from_.tensors[3].name;
  EXPECT_TRUE(fails({"inspect", "--verify", path}, 1,
                    path + ": damaged: /model/" + std::min(first, second) + ", /model/" +
                        std::max(first, second) + " do not match their checksums"));
  EXPECT_TRUE(fails({"inspect", folder_.write("cut.h5", content.substr(0, 3000))}, 1,
                    "cut.h5: is truncated"));
}

TEST_F(Convert, InspectOtherFiles) {
  const std::string tokens = folder_ / "tokens.h5";
  {
    TokenFileWriter writer(tokens, {10, 9, 8, kTokenizer});
    const std::int32_t ids[] = {1, 2, 3, 8};
    writer.append(std::span(ids));
    writer.end_document();
    writer.append(std::span(ids).last(1));
    writer.end_document();
    writer.finish();
    writer.commit();
  }
  const std::string text = output_of({"inspect", "--verify", tokens});
  for (const char* part : {"a token file, version 2", "2; the longest has 4 tokens",
                           "tokens      5\n", "10 ids", "2 datasets match"})
    EXPECT_TRUE(contains(text, part));
  EXPECT_TRUE(contains(output_of({"inspect", from_.path()}), "a Hugging Face folder"));
  EXPECT_TRUE(
      contains(output_of({"inspect", from_.folder / "model.safetensors"}), "a safetensors file"));
  const std::string foreign =
      output_of({"inspect", "--verify", "--tensors", testing::golden_path("hdf5_foreign.h5")});
  EXPECT_TRUE(contains(foreign, "2, and 6 of other types"));
  EXPECT_TRUE(contains(foreign, "0 datasets match, 2 have none"));
  EXPECT_TRUE(fails({"inspect", "--config", tokens}, 1, "holds no config"));
}

}  // namespace
}  // namespace lacuna
