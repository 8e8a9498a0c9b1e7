#include "checkpoint/checkpoint.h"

#include "core/half.h"
#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::same;
using testing::SampleCheckpoint;
using testing::Tensors;

std::string mistake_of(const std::string& path) {
  return error_of([&] { CheckpointReader reader(path); });
}

TEST(Checkpoint, reads_back_whole) {
  const Folder folder;
  const SampleCheckpoint sample;
  sample.save(folder / "a.h5");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"a.h5"});
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_TRUE(sample.matches(reader));
  EXPECT_EQ(error_of([&] { reader.verify(); }), "");
  EXPECT_EQ(reader.names("model"), (std::vector<std::string>{"model.transformer.ln_f.weight",
                                                             "model.transformer.wte.weight"}));
  EXPECT_TRUE(reader.has("master", "model.transformer.wte.weight"));
  EXPECT_FALSE(reader.has("master", "model.transformer.nothing"));
}

TEST(Checkpoint, without_optimizer_states_tokenizer_or_tensors) {
  const Folder folder;
  SampleCheckpoint sample;
  sample.info = {};
  sample.tensors = {};
  sample.save(folder / "a.h5");
  const CheckpointReader reader(folder / "a.h5");
  EXPECT_TRUE(sample.matches(reader));
  EXPECT_TRUE(reader.names("model").empty());
}

TEST(Checkpoint, replaces_an_older_one_and_makes_its_folder) {
  const Folder folder;
  const std::string path = folder / "new/folder/a.h5";
  SampleCheckpoint(1).save(path);
  SampleCheckpoint(2).save(path);
  EXPECT_TRUE(SampleCheckpoint(2).matches(CheckpointReader(path)));
}

template <class Half>
void expect_widened(DType dtype) {
  // Every bit pattern, in a tensor larger than the pieces it is converted in.
  const Folder folder;
  Tensors own;
  const Tensor half = own.zeros({33, 1 << 16}, dtype);
  for (std::int64_t i = 0; i < half.count(); ++i) half.as<Half>()[i].bits = std::uint16_t(i);
  save_checkpoint(folder / "a.h5", {}, testing::model_only({{"w", half}}));
  const Tensor wide = own.zeros(half.shape);
  CheckpointReader(folder / "a.h5").read("model", "w", wide);
  for (std::int64_t i = 0; i < half.count(); ++i)
    ASSERT_EQ(std::bit_cast<std::uint32_t>(wide.as<float>()[i]),
              std::bit_cast<std::uint32_t>(to_float(half.as<Half>()[i])))
        << i;
}
TEST(Checkpoint, bf16_is_read_as_f32_exactly) { expect_widened<BFloat16>(DType::bf16); }
TEST(Checkpoint, f16_is_read_as_f32_exactly) { expect_widened<Float16>(DType::f16); }

TEST(Checkpoint, tensors_that_do_not_fit_the_model) {
  const Folder folder;
  Tensors own;
  const std::string path = folder / "a.h5";
  SampleCheckpoint(7, 8).save(path);
  const CheckpointReader reader(path);
  const std::string wte = "model.transformer.wte.weight";
  EXPECT_EQ(error_of([&] {
              reader.read("model", wte, own.zeros({5, 9}));
            }),
            path + ": /model/" + wte + " has shape [5,8]; the model needs [5,9]");
  EXPECT_EQ(error_of([&] { reader.read("model", wte, own.zeros({40})); }),
            path + ": /model/" + wte + " has shape [5,8]; the model needs [40]");
  EXPECT_EQ(error_of([&] {
              reader.read("model", wte, own.zeros({5, 8}, DType::f16));
            }),
            path + ": /model/" + wte + " holds bf16, which cannot be read as f16");
  EXPECT_EQ(error_of([&] {
              reader.read("first_moment", wte, own.zeros({5, 8}, DType::bf16));
            }),
            path + ": /optimizer/first_moment/" + wte + " holds f32, which cannot be read as bf16");
  EXPECT_EQ(error_of([&] {
              reader.read("model", "model.x", own.zeros({5, 8}));
            }),
            path + ": has no tensor /model/model.x");
  EXPECT_EQ(error_of([&] { reader.names("weights"); }), "a checkpoint has no group 'weights'");
}

TEST(Checkpoint, other_files_are_not_taken_for_one) {
  const Folder folder;
  const auto file = [&](const char* format, std::int64_t version) {
    h5::FileWriter f(folder / "a.h5");
    if (format) f.set_attribute("format", format);
    f.set_attribute("version", version);
    f.close();
    return mistake_of(folder / "a.h5");
  };
  const std::string name = folder / "a.h5";
  EXPECT_EQ(file("lacuna-tokens", 1),
            name + ": is not a checkpoint: its format is 'lacuna-tokens', not 'lacuna-checkpoint'");
  EXPECT_EQ(file(nullptr, 1), name + ": is an HDF5 file, but not a checkpoint");
  EXPECT_EQ(file("lacuna-checkpoint", 2), name + ": version 2 is newer than this program's 1");
  EXPECT_EQ(file("lacuna-checkpoint", 0),
            name + ": version 0 is none this program knows; it writes 1");
  EXPECT_EQ(file("lacuna-checkpoint", 1), name + ": has no attribute 'step'");
  EXPECT_EQ(mistake_of(folder.write("text.h5", "some text")),
            folder / "text.h5" + ": is not an HDF5 file");
  EXPECT_EQ(mistake_of(folder / "none.h5"), folder / "none.h5" + ": No such file or directory");
}

TEST(Checkpoint, a_save_that_fails_leaves_the_file_before) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  const SampleCheckpoint old(1);
  old.save(path);
  SampleCheckpoint bad(2);
  bad.tensors.master.push_back({"a/b", bad.memory.zeros({1})});
  EXPECT_EQ(error_of([&] { bad.save(path); }), path + ": 'a/b' cannot name a tensor");
  SampleCheckpoint twice(3);
  twice.tensors.model.push_back(twice.tensors.model.front());
  EXPECT_TRUE(contains(error_of([&] { twice.save(path); }), "model.transformer.wte.weight"));
  SampleCheckpoint strange(4);
  strange.info.extra["other"] = "x";
  EXPECT_TRUE(contains(error_of([&] { strange.save(path); }), "'other' must begin with hf_"));
  EXPECT_EQ(folder.files(), std::vector<std::string>{"a.h5"});
  EXPECT_TRUE(old.matches(CheckpointReader(path)));
}

}  // namespace
}  // namespace lacuna
