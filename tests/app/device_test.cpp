#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "data/token_file.h"
#include "formats/hdf5.h"
#include "kernels/backend.h"
#include "tests/app/device_runs.h"
#include "tests/app/program.h"
#include "tests/support/support.h"

// The program with --device and compute.device, beside one thread of the CPU in f32: on a GPU in
// builds with CUDA, the emulator in others, and on the CPU.

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Arguments = std::vector<std::string>;

class DeviceRun : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    try {
      make_ops(GetParam());
    } catch (const Error& e) {
      GTEST_SKIP() << e.what();
    }
    const std::string data = folder_ / "data.h5";
    TokenFileWriter writer(data, {20, 19, 18, ""});
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < 2000; ++i) tokens.push_back(std::int32_t(i * i % 18));
    writer.append(tokens);
    writer.end_document();
    writer.finish();
    writer.commit();
    // Heads 64 wide: tensor cores take them in bf16.
    config_ = folder_.write(
        "c.toml",
        str("[model]\nnum_layers = 2\nhidden_size = 128\nnum_heads = 2\n",
            "num_kv_heads = 1\nintermediate_size = 40\nmax_seq_length = 16\n", "[data]\ntrain = \"",
            data, "\"\nvalidation = \"", data, "\"\nsequence_length = 16\n", "[train]\nsteps = 4\n",
            "batch_size = 4\nmicro_batch_size = 2\nlog_every = 1\n", "eval_samples = 4\n",
            "[optimizer]\nwarmup_steps = 0\n", "decay_steps = 0\n"));
  }
  /// The folder of a run with these settings, which must end well.
  std::string pretrain(const std::string& name, const Arguments& settings,
                       const Arguments& more = {}) {
    Arguments all = {"pretrain", "--config", config_, "--set", "train.output=" + folder_ / name};
    for (const std::string& s : settings) {
      all.emplace_back("--set");
      all.push_back(s);
    }
    all.insert(all.end(), more.begin(), more.end());
    Program program(all);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return folder_ / name;
  }
  std::string output_of(const Arguments& arguments) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return program.out();
  }
  static void expect_close(const std::string& run, const std::string& expected, double relative) {
    ASSERT_GE(losses(run).size(), 4u);
    testing::expect_close(losses(run), losses(expected), relative);
  }
  static std::vector<float> tensor(const CheckpointReader& reader, const std::string& group,
                                   const std::string& name) {
    const Shape shape = reader.shape(group, name);
    std::vector<float> values(std::size_t(shape.count()));
    reader.read(group, name, Tensor(values.data(), shape));
    return values;
  }

  Folder folder_;
  std::string config_;
  const std::string device_ = str("compute.device=", GetParam());
};
INSTANTIATE_TEST_SUITE_P(Devices, DeviceRun, ::testing::Values(kDevice, "cpu"),
                         [](const auto& device) { return std::string(device.param).substr(0, 4); });

/// f32: sums in another order; bf16: as tests/cuda/model_test.cpp derives for two blocks.
TEST_P(DeviceRun, TrainsAsTheCpuDoes) {
  const std::string cpu = pretrain("cpu", {"compute.threads=1"});
  expect_close(pretrain("f32", {device_}), cpu, 1e-4);
  expect_close(pretrain("bf16", {device_, "compute.dtype=bf16"}), cpu,
               3 * 0x1p-9 * std::sqrt(40.0));
}

TEST_P(DeviceRun, TrainsAndScoresBlocksAsTheCpuDoes) {
  const auto with = [](Arguments more) {
    for (const char* setting : {"model.attention=block_causal", "model.block_size=4",
                                "model.causal_context=true", "train.objective=block_diffusion",
                                "train.noisy_views=2", "train.complementary_masks=true",
                                "train.autoregressive_weight=0.5", "train.block_sizes=2,4"})
      more.emplace_back(setting);
    return more;
  };
  const std::string cpu = pretrain("cpu", with({"compute.threads=1"}));
  const std::string f32 = pretrain("f32", with({device_}));
  expect_close(f32, cpu, 1e-4);
  expect_close(pretrain("bf16", with({device_, "compute.dtype=bf16"})), cpu,
               3 * 0x1p-9 * std::sqrt(40.0));
  const auto score = [&](const Arguments& where) {
    Arguments all = {"score",     cpu, "--prompt-tokens", "1 2 3", "--tokens", "4 5 6 7 8",
                     "--samples", "6", "--json"};
    all.insert(all.end(), where.begin(), where.end());
    return nlohmann::json::parse(output_of(all))["nats"].get<double>();
  };
  EXPECT_NEAR(score({"--device", GetParam()}) / score({"--threads", "1"}), 1, 1e-5);
}

TEST_P(DeviceRun, SamplesAndComputesLogitsAsTheCpuDoes) {
  const std::string run = pretrain("run", {"compute.threads=1"});
  const auto sample = [&](const Arguments& where) {
    Arguments all = {"sample", "--checkpoint", run,  "--tokens", "1 2 3",
                     "--ids",  "--gen-length", "12", "--steps",  "6"};
    all.insert(all.end(), where.begin(), where.end());
    return output_of(all);
  };
  EXPECT_EQ(sample({"--device", GetParam()}), sample({"--threads", "1"}));

  const auto logits = [&](const std::string& name, const Arguments& where) {
    const std::string path = folder_ / name;
    Arguments all = {"forward", "--checkpoint", run, "--tokens", "1 2 3 19 5", "--output", path};
    all.insert(all.end(), where.begin(), where.end());
    output_of(all);
    std::vector<float> values(5 * 20);
    h5::File::open(path).read("/logits", Tensor(values.data(), {5, 20}));
    return values;
  };
  const auto cpu = logits("cpu.h5", {"--threads", "1"}),
             f32 = logits("f32.h5", {"--device", GetParam()});
  const auto bf16 = logits("bf16.h5", {"--device", GetParam(), "--dtype", "bf16"});
  float largest = 0;
  for (const float x : cpu) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_NEAR(f32[i], cpu[i], 1e-4f * largest);
    EXPECT_NEAR(bf16[i], cpu[i], 0.05f * largest);
  }
}

/// Weights are rounded, their masters are not: only they make a resumed run go on as it would have.
TEST_P(DeviceRun, Bf16RunsResumeBitForBit) {
  const Arguments bf16 = {device_, "compute.dtype=bf16"};
  const CheckpointReader whole(resolve_checkpoint(pretrain("whole", bf16)));
  pretrain("parts", {device_, "compute.dtype=bf16", "train.steps=2"});
  const CheckpointReader parts(resolve_checkpoint(pretrain("parts", bf16, {"--resume"})));
  EXPECT_EQ(parts.info().step, 4);
  bool rounded = false;
  for (const std::string& name : whole.names("model")) {
    EXPECT_EQ(whole.dtype("model", name), DType::bf16);
    EXPECT_EQ(whole.dtype("master", name), DType::f32);
    rounded |= tensor(whole, "model", name) != tensor(whole, "master", name);
    for (const char* group : {"model", "master", "first_moment", "second_moment"})
      EXPECT_EQ(tensor(whole, group, name), tensor(parts, group, name)) << group << " " << name;
  }
  EXPECT_TRUE(rounded);
}

/// The same run, but for the rounding of AdamW on a CPU; and checkpoints that either goes on from.
TEST_P(DeviceRun, OptimizerStatesInMainMemory) {
  if (GetParam() == std::string("cpu")) GTEST_SKIP() << "states are in main memory";
  for (const char* dtype : {"bf16", "f32"}) {
    SCOPED_TRACE(dtype);
    const Arguments resident = {device_, str("compute.dtype=", dtype)};
    Arguments offloaded = resident;
    offloaded.emplace_back("optimizer.cpu_offload=true");
    Arguments background = offloaded;
    background.emplace_back("train.async_checkpoint=true");
    const std::string name = dtype;
    const std::string there = pretrain(name + "-resident", resident),
                      here = pretrain(name + "-offloaded", offloaded);
    // Where a CPU adds and multiplies in one rounding, a weight may be rounded to its other
    // neighbour in bf16; then activations are rounded otherwise as well, as in TrainsAsTheCpuDoes.
    const double tolerance = dtype == std::string("f32") ? 1e-5 : 3 * 0x1p-9 * std::sqrt(40.0);
    expect_close(here, there, tolerance);
    const CheckpointReader a(resolve_checkpoint(there)), b(resolve_checkpoint(here));
    for (const char* group : {"model", "master", "first_moment", "second_moment"})
      EXPECT_EQ(a.names(group), b.names(group)) << group;
    if (dtype == std::string("f32")) continue;  // the rest is the same
    // In halves: the same bits; and from one kind to the other.
    const auto in_halves = [&](const std::string& run, Arguments first, const Arguments& second) {
      first.emplace_back("train.steps=2");
      pretrain(run, first);
      return pretrain(run, second, {"--resume"});
    };
    const CheckpointReader halves(
        resolve_checkpoint(in_halves(name + "-halves", background, background)));
    for (const char* group : {"model", "master", "first_moment", "second_moment"})
      for (const std::string& tensor_name : b.names(group))
        EXPECT_EQ(tensor(halves, group, tensor_name), tensor(b, group, tensor_name))
            << group << " " << tensor_name;
    for (const std::string& run : {in_halves(name + "-to", resident, offloaded),
                                   in_halves(name + "-from", offloaded, resident)})
      EXPECT_NEAR(losses(run).back() / losses(there).back(), 1, tolerance);
  }
  const Arguments average = {device_, "optimizer.ema_decay=0.9"};
  Arguments offloaded = average;
  offloaded.emplace_back("optimizer.cpu_offload=true");
  expect_close(pretrain("average-offloaded", offloaded), pretrain("average", average), 1e-5);
}

TEST_P(DeviceRun, Benchmarks) {
  const auto result =
      nlohmann::json::parse(output_of({"bench", "--device", GetParam(), "--dtype", "bf16",
                                       "--shape", "5m", "--ops", "clip", "--json"}));
  EXPECT_EQ(result["dtype"], "bf16");
  ASSERT_EQ(result["ops"].size(), 1u);
  EXPECT_EQ(result["ops"][0]["name"], "clip_scale");
  EXPECT_GT(result["matmul_peak_flops"], 0);
}

TEST(DeviceOption, Mistakes) {
  const auto forward = [](const Arguments& more) {
    Arguments all = {"forward", "--checkpoint", "none.h5", "--tokens", "1", "--output", "x.h5"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  EXPECT_TRUE(fails(forward({"--device", "tpu"}), 2, "--device"));
  EXPECT_TRUE(fails(forward({"--dtype", "f16"}), 2, "--dtype"));
#if defined(LACUNA_CUDA)
  EXPECT_TRUE(fails({"bench", "--device", "cuda-emulated"}, 2, "is not in this build"));
  try {
    make_ops(kDevice);
  } catch (const Error& e) {
    EXPECT_TRUE(fails({"bench", "--device", "cuda"}, 1, e.what()));
  }
#else
  EXPECT_TRUE(fails({"bench", "--device", "cuda"}, 2,
                    "device \"cuda\" is not in this build; build with cmake --preset cuda"));
#endif
}

}  // namespace
}  // namespace lacuna
