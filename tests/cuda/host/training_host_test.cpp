// Training through the files that talk to the CUDA libraries: the whole backend but its libraries.
#include "tests/cuda/host/stand_ins.h"
#include "tests/cuda/host/training_losses.h"

namespace lacuna::testing {
namespace {

using TrainingOnStandIns = StandInTest;

/// What a program prints.
std::string output_of(const std::string& program) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(program.c_str(), "r"), pclose);
  std::string text;
  char part[4096];
  while (const std::size_t n = pipe ? std::fread(part, 1, sizeof part, pipe.get()) : 0)
    text.append(part, n);
  return text;
}

TEST_F(TrainingOnStandIns, GivesTheEmulatorsLosses) {
  CudaOps ops;
  const std::string losses = training_losses(ops);
  EXPECT_EQ(losses, output_of(LACUNA_EMULATED_LOSSES));
  EXPECT_EQ(std::count(losses.begin(), losses.end(), '\n'), 10);
  EXPECT_GT(toolkit::calls("cublasLtMatmul"), 100);
}

/// From the second step on, nothing is allocated or chosen anew, and the host waits as often.
TEST_F(TrainingOnStandIns, StepsAreAlike) {
  CudaOps ops;
  const ModelConfig config = tiny(48, 3, 1);
  Training training(ops, config, DType::bf16);
  initialise(training.optimizer.master().pieces(), training.weights, config, 1, ops);
  training.optimizer.cast_master_weights();
  std::vector<std::vector<std::int64_t>> counts;
  for (std::int64_t number = 1; number <= 3; ++number) {
    std::vector<std::int64_t> before, after;
    const char* const names[] = {"cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul",  "kernel",
                                 "cudaStreamSynchronize",          "cudaMemcpyAsync", "cudaMalloc"};
    for (const char* name : names) before.push_back(toolkit::calls(name));
    training.step(batch_of(config, std::uint64_t(number)), number);
    for (std::size_t i = 0; i < std::size(names); ++i)
      after.push_back(toolkit::calls(names[i]) - before[i]);
    counts.push_back(after);
  }
  EXPECT_GT(counts[0][0], 0);
  EXPECT_EQ(counts[1][0], 0);
  EXPECT_EQ(counts[2], counts[1]);
}

}  // namespace
}  // namespace lacuna::testing
