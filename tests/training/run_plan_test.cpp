#include "training/run_plan.h"

#include "tests/support/paths.h"
#include "tests/support/support.h"
#include "training/fitting_layout.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
// Of LLaDA 8B: all, the embedding and the head, and one of 32 blocks.
constexpr std::int64_t kParameters = 8'015'581'184;
constexpr double kVocabulary = 2.0 * 126464 * 4096, kBlock = (kParameters - kVocabulary) / 32;

Config llada_8b() {
  return read_config(testing::source_path("configs/llada-8b.toml"),
                     {"compute.dtype=f32", "compute.device=cpu"});
}

// f32 weights and gradients, two f32 moments, cut among 64 ranks when sharded.
TEST(RunPlan, Llada8b) {
  Config config = llada_8b();
  config.parallel.zero_stage = 0;
  const RunPlan whole = plan_run(config, 64);
  EXPECT_EQ(whole.parameters, kParameters);
  EXPECT_EQ(whole.data, 64);
  EXPECT_NEAR(double(whole.memory.weights), 4.0 * kParameters, 1e6);
  EXPECT_NEAR(double(whole.memory.gradients), 4.0 * kParameters, 1e6);
  EXPECT_NEAR(double(whole.memory.optimizer), 8.0 * kParameters, 1e6);
  EXPECT_NEAR(whole.gradient_bytes, 2.0 * 63 / 64 * 4 * kParameters, 1e6);
  EXPECT_EQ(whole.weight_bytes, 0);
  EXPECT_EQ(whole.activation_bytes, 0);
  EXPECT_EQ(whole.micro_batches, 20);  // 1280 / 64, one at a time

  config.parallel.zero_stage = 1;
  const RunPlan sharded = plan_run(config, 64);
  EXPECT_NEAR(double(sharded.memory.optimizer), 8.0 * kParameters / 64, 1e6);
  EXPECT_EQ(sharded.memory.weights, whole.memory.weights);
  EXPECT_NEAR(sharded.gradient_bytes + sharded.forward_weight_bytes, whole.gradient_bytes, 1);
}

// Gradients: this rank's part, and windows of two of the 32 blocks and of the embedding or the
// head; reduced once per micro-batch.
TEST(RunPlan, ShardedGradients) {
  Config config = llada_8b();
  config.parallel.zero_stage = 1;
  const RunPlan whole = plan_run(config, 64);
  config.parallel.zero_stage = 2;
  const RunPlan sharded = plan_run(config, 64);
  EXPECT_NEAR(double(sharded.memory.gradients),
              4 * (kParameters / 64.0 + kVocabulary / 2 + 2 * kBlock), 1e6);
  EXPECT_EQ(sharded.reductions, sharded.micro_batches);
  EXPECT_EQ(sharded.reductions, 20);
  EXPECT_NEAR(sharded.gradient_bytes, 20 * whole.gradient_bytes, 1e6);
  EXPECT_NEAR(sharded.forward_weight_bytes, whole.forward_weight_bytes, 1e6);
  EXPECT_NEAR(double(sharded.memory.optimizer), double(whole.memory.optimizer), 1e6);
}

// Weights: this rank's part, and windows of two blocks beside embedding and head. A step gathers
// all in its first forward pass, then 30 of the 32 blocks forward and 30 backward in each
// micro-batch.
TEST(RunPlan, ShardedWeights) {
  Config config = llada_8b();
  config.parallel.zero_stage = 2;
  const RunPlan whole = plan_run(config, 64);
  config.parallel.zero_stage = 3;
  const RunPlan sharded = plan_run(config, 64);
  EXPECT_NEAR(double(sharded.memory.weights),
              4 * (kParameters / 64.0 + kVocabulary / 2 + 2 * kBlock), 1e6);
  EXPECT_EQ(sharded.memory.gradients, whole.memory.gradients);
  EXPECT_EQ(sharded.memory.optimizer, whole.memory.optimizer);
  EXPECT_EQ(sharded.gradient_bytes, whole.gradient_bytes);
  const double others = 4.0 * 63 / 64;
  EXPECT_EQ(sharded.micro_batches, 20);
  EXPECT_NEAR(sharded.forward_weight_bytes,
              others * (kParameters + 19 * (30 * kBlock + kVocabulary / 2)), 1e7);
  EXPECT_NEAR(sharded.backward_weight_bytes, others * 20 * (30 * kBlock + kVocabulary / 2), 1e7);
  EXPECT_EQ(sharded.weight_bytes, 0);
  EXPECT_EQ(plan_run(config, 1).memory.weights, whole.memory.weights);
}

// Its one block stays where it is; embedding and head take turns.
TEST(RunPlan, ShardedWeightsOfOneBlock) {
  Config config = llada_8b();
  config.model.num_layers = 1;
  config.parallel.zero_stage = 3;
  const RunPlan plan = plan_run(config, 64);
  const double others = 4.0 * 63 / 64;
  EXPECT_NEAR(plan.forward_weight_bytes, others * (double(plan.parameters) + 19 * kVocabulary / 2),
              1e7);
  EXPECT_NEAR(plan.backward_weight_bytes, others * 20 * kVocabulary / 2, 1e7);
  config.model.tie_embeddings = true;
  const RunPlan tied = plan_run(config, 64);
  EXPECT_NEAR(tied.forward_weight_bytes, others * double(tied.parameters), 1e7);
  EXPECT_EQ(tied.backward_weight_bytes, 0);
}

TEST(RunPlan, ASharedModel) {
  Config config = llada_8b();
  const RunPlan alone = plan_run(config, 64);
  config.parallel.tensor_parallel = 4;
  const RunPlan shared = plan_run(config, 64);
  EXPECT_EQ(shared.data, 16);
  EXPECT_EQ(shared.parameters, kParameters);
  EXPECT_NEAR(double(shared.memory.weights), double(alone.memory.weights) / 4, 4e6);  // and norms
  EXPECT_LT(shared.memory.activations, alone.memory.activations);
  EXPECT_GT(shared.memory.activations, alone.memory.activations / 4);  // the stream is on all
  EXPECT_EQ(shared.flops, alone.flops);
  // 1280/16 sequences; rows of 4096 f32, sent 2 * 3/4 times: see summed_rows.
  const double N = 80.0 * 4096, M = N / 2, rows = N + 31 * 4 * N + 2 * M + M + M + N;
  EXPECT_NEAR(shared.activation_bytes, 1.5 * 4096 * 4 * rows, 1e-9 * shared.activation_bytes);
}

// GPUs of a tensor parallel group hold what arrives by NCCL beside their arenas.
TEST(RunPlan, NcclsExchangeIsCounted) {
  Config config = llada_8b();
  config.parallel.tensor_parallel = 4;
  const RunPlan on_hosts = plan_run(config, 64);
  EXPECT_EQ(on_hosts.memory.exchange, 0);
  config.compute.device = DeviceKind::cuda;
  const RunPlan on_gpus = plan_run(config, 64);
  EXPECT_EQ(on_gpus.memory.exchange, std::int64_t{32} << 20);
  config.parallel.transport = Transport::mpi;
  const RunPlan by_mpi = plan_run(config, 64);
  EXPECT_EQ(by_mpi.memory.exchange, 0);
  EXPECT_EQ(on_gpus.memory.total() - on_gpus.memory.runtime,
            by_mpi.memory.total() - by_mpi.memory.runtime + (std::int64_t{32} << 20));
  config.parallel.transport = Transport::nccl;
  config.parallel.tensor_parallel = 1;
  EXPECT_EQ(plan_run(config, 64).memory.exchange, 0);
}

// What a process has on a GPU beside its arenas: a context always, NCCL's buffers by communicator.
TEST(RunPlan, TheRuntimeIsCounted) {
  Config config = llada_8b();
  config.parallel.tensor_parallel = 1;
  EXPECT_EQ(plan_run(config, 8).memory.runtime, 0);
  config.compute.device = DeviceKind::cuda;
  const auto runtime = [&](int ranks, int tensor) {
    config.parallel.tensor_parallel = tensor;
    return plan_run(config, ranks).memory.runtime;
  };
  const std::int64_t alone = runtime(1, 1), nccl = runtime(4, 4) - alone;
  EXPECT_GE(alone, kGiB / 2);
  EXPECT_EQ(nccl % 2, 0);  // of all ranks, and of a tensor-parallel group
  EXPECT_GE(nccl, 2 * kGiB);
  EXPECT_EQ(runtime(4, 1) - alone, nccl);
  EXPECT_EQ(runtime(4, 2) - alone, nccl / 2 * 3);
  config.parallel.transport = Transport::mpi;
  EXPECT_EQ(runtime(4, 2), alone);
  config.compute.device = DeviceKind::cuda_emulated;
  EXPECT_EQ(runtime(4, 2), 0);
}

// As shipped, on GPUs of 80 GB, of which some 79 GiB can be had.
TEST(RunPlan, Llada8bFitsTheGpusItNames) {
  const Config config = read_config(testing::source_path("configs/llada-8b.toml"), {});
  const auto ranks = fewest_ranks_that_fit(config, 79 * kGiB);
  ASSERT_TRUE(ranks.has_value());
  EXPECT_LE(*ranks, 8);
  EXPECT_GT(plan_run(config, *ranks / 2).memory.total(), 79 * kGiB);
  EXPECT_LT(plan_run(config, 64).memory.total(), 79 * kGiB);
}

// A GPU of 24 GB has some 23 GiB to give.
TEST(RunPlan, LoraOfLlada8bFitsOneGpu) {
  Config config = read_config(testing::source_path("configs/llada-8b-lora.toml"), {});
  const RunPlan in_bf16 = plan_run(config, 1);
  EXPECT_EQ(in_bf16.parameters, kParameters);
  // Of rank 16: q, k, v, out [4096,4096]; gate, up and down [12288,4096].
  const std::int64_t adapters = 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 12288));
  EXPECT_EQ(in_bf16.trained, adapters);
  EXPECT_NEAR(double(in_bf16.memory.weights), 2.0 * (kParameters + adapters), 1e6);
  EXPECT_NEAR(double(in_bf16.memory.gradients), 4.0 * adapters, 1e6);
  EXPECT_NEAR(double(in_bf16.memory.optimizer), 12.0 * adapters, 1e6);
  EXPECT_EQ(in_bf16.checkpoint_bytes, 14 * adapters);
  EXPECT_LT(in_bf16.memory.total(), 79 * kGiB);

  EXPECT_GT(in_bf16.memory.total(), 23 * kGiB);
  config.lora.base_dtype = BaseDtype::q8_0;
  EXPECT_GT(plan_run(config, 1).memory.total(), 20 * kGiB);
  config.train.recompute = {"block"};
  const RunPlan in_q8_0 = plan_run(config, 1);
  const double matrices = kParameters - kVocabulary - 65 * 4096;
  EXPECT_NEAR(double(in_q8_0.memory.weights),
              34.0 / 32 * matrices + 2 * (kVocabulary + 65 * 4096 + adapters), 1e6);
  EXPECT_LT(in_q8_0.memory.total(), 23 * kGiB);
  EXPECT_NEAR(in_q8_0.flops / in_bf16.flops, 1, 1e-9);
  EXPECT_GT(in_q8_0.recomputed_flops, 0);
  // Two thirds of what it takes to train all weights, but for the attention.
  config.lora.rank = 0;
  EXPECT_NEAR(in_bf16.flops / plan_run(config, 1).flops, 2.0 / 3, 0.05);
}

TEST(RunPlan, TheFewestRanksThatFit) {
  Config config;
  config.model.vocab_size = 1000;
  config.parallel.zero_stage = 1;
  const auto total = [&](int ranks) { return plan_run(config, ranks).memory.total(); };
  ASSERT_GT(total(2), total(4));
  EXPECT_EQ(fewest_ranks_that_fit(config, total(1)), 1);
  EXPECT_EQ(fewest_ranks_that_fit(config, total(4)), 4);
  EXPECT_EQ(fewest_ranks_that_fit(config, 1000), std::nullopt);
  config.parallel.tensor_parallel = 4;
  EXPECT_EQ(fewest_ranks_that_fit(config, total(4)), 4);
}

TEST(RunPlan, OneRankSendsNothing) {
  Config config = llada_8b();
  const RunPlan plan = plan_run(config, 1);
  EXPECT_EQ(
      plan.gradient_bytes + plan.weight_bytes + plan.forward_weight_bytes + plan.activation_bytes,
      0);
  const StepTime time = predict_step(plan, {1e15, 1e11, 1e10});
  EXPECT_DOUBLE_EQ(time.total(), plan.flops / 1e15);
  EXPECT_EQ(time.efficiency(), 1);
}

TEST(RunPlan, ProductsInFp8TakeLess) {
  RunPlan plan;
  plan.micro_batches = 1;
  plan.flops = 20e12;
  plan.recomputed_flops = 4e12;
  plan.fp8_flops = 16e12;
  EXPECT_DOUBLE_EQ(predict_step(plan, {1e12, 1e9, 1e9}).compute, 24);
  EXPECT_DOUBLE_EQ(predict_step(plan, {1e12, 1e9, 1e9, 2}).compute, 16);
}

// Per weight: its gradient in f32 and it in bf16 are copied; beside them the CPU reads and writes a
// master and two moments.
TEST(RunPlan, AnOptimizerOnTheCpuTakesTime) {
  Config config = llada_8b();
  config.compute.device = DeviceKind::cuda;
  config.compute.dtype = Precision::f32;
  config.optimizer.cpu_offload = true;
  config.parallel.zero_stage = 0;
  EXPECT_EQ(plan_run(config, 1).copied_bytes, 8.0 * 8015581184);
  EXPECT_EQ(plan_run(config, 1).host_update_bytes, 28.0 * 8015581184);
  config.compute.dtype = Precision::bf16;
  const RunPlan plan = plan_run(config, 1);
  EXPECT_EQ(plan.copied_bytes, 6.0 * 8015581184);
  EXPECT_EQ(plan.host_update_bytes, 30.0 * 8015581184);
  config.parallel.zero_stage = 1;
  EXPECT_EQ(plan_run(config, 8).copied_bytes, plan.copied_bytes / 8);
  const MachineFigures machine = {.flops_per_second = 1e15,
                                  .tensor_bytes_per_second = 1e11,
                                  .data_bytes_per_second = 1e11,
                                  .copied_bytes_per_second = 2e10,
                                  .host_bytes_per_second = 1e11};
  const StepTime time = predict_step(plan, machine);
  EXPECT_DOUBLE_EQ(time.host_update, plan.copied_bytes / 2e10 + plan.host_update_bytes / 1e11);
  EXPECT_DOUBLE_EQ(time.total(), time.compute + time.host_update);
}

TEST(RunPlan, TimeHidesGradientsBehindOneBackwardPass) {
  RunPlan plan;
  plan.data = 2;
  plan.micro_batches = 4;
  plan.flops = 24e12;
  plan.gradient_bytes = 3e9;
  const StepTime time = predict_step(plan, {1e12, 1e9, 1e9});
  EXPECT_DOUBLE_EQ(time.compute, 12);
  EXPECT_DOUBLE_EQ(time.hidden_communication, 2);  // 12 / 4 * 2/3
  EXPECT_DOUBLE_EQ(time.exposed_communication, 1);
  EXPECT_DOUBLE_EQ(time.efficiency(), 12.0 / 13);
  // Weights: behind one forward pass; or all, and, with the gradients, backward passes.
  plan.forward_weight_bytes = 5e9;
  plan.gathers = 1;
  EXPECT_DOUBLE_EQ(predict_step(plan, {1e12, 1e9, 1e9}).hidden_communication, 2 + 1);
  plan.gathers = 4;
  plan.backward_weight_bytes = 1e9;
  plan.reductions = 4;
  const StepTime sharded = predict_step(plan, {1e12, 1e9, 1e9});
  EXPECT_DOUBLE_EQ(sharded.hidden_communication, 4 + 4);
  EXPECT_DOUBLE_EQ(sharded.exposed_communication, 1);
}

TEST(RunPlan, TheSmallestChangeThatFits) {
  Config config;
  config.model.vocab_size = 1000;
  config.train.micro_batch_size = 8;
  config.parallel.zero_stage = 0;
  using Words = std::vector<std::string>;
  const auto total = [&](std::int64_t micro, std::int64_t zero, std::int64_t tensor,
                         const Words& recompute = {}) {
    Config c = config;
    c.train.recompute = recompute;
    c.train.micro_batch_size = micro;
    c.parallel.zero_stage = zero;
    c.parallel.tensor_parallel = tensor;
    return plan_run(c, 4).memory.total();
  };
  EXPECT_EQ(change_that_fits(config, 4, total(4, 0, 1)), "train.micro_batch_size = 4");
  EXPECT_EQ(change_that_fits(config, 4, total(1, 0, 1)), "train.micro_batch_size = 1");
  // Then sharded states, with the largest micro-batch that they leave room for.
  const std::int64_t less = total(1, 0, 1) - 1;
  std::int64_t micro = 8;
  while (total(micro, 1, 1) > less) micro /= 2;
  ASSERT_LT(micro, 8);
  EXPECT_EQ(change_that_fits(config, 4, less),
            str("parallel.zero_stage = 1, train.micro_batch_size = ", micro));
  const auto least = [&](std::int64_t tensor, const Words& recompute) {
    return std::min({total(1, 1, tensor, recompute), total(1, 2, tensor, recompute),
                     total(1, 3, tensor, recompute)});
  };
  // Next, sharded gradients and weights; recomputation; then the model on two ranks, with whatever
  // fits.
  if (least(1, {}) < total(1, 1, 1)) {
    const auto sharded = change_that_fits(config, 4, total(1, 1, 1) - 1);
    ASSERT_TRUE(sharded.has_value());
    EXPECT_TRUE(sharded->starts_with("parallel.zero_stage = 2") ||
                sharded->starts_with("parallel.zero_stage = 3"))
        << *sharded;
  }
  const auto again = change_that_fits(config, 4, least(1, {}) - 1);
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->starts_with("train.recompute = [\"gate_up\"]")) << *again;
  const auto shared = change_that_fits(config, 4, least(1, {"block"}) - 1);
  ASSERT_TRUE(shared.has_value());
  EXPECT_TRUE(shared->starts_with("parallel.tensor_parallel = 2")) << *shared;
  EXPECT_EQ(change_that_fits(config, 4, 1000), std::nullopt);
  // With two tensor parallel ranks already: sequence parallelism, before four.
  config.parallel.tensor_parallel = 2;
  const auto split = change_that_fits(config, 4, least(2, {"block"}) - 1);
  ASSERT_TRUE(split.has_value());
  EXPECT_TRUE(split->starts_with("parallel.sequence_parallel = true")) << *split;
}

TEST(RunPlan, WhatTrainingRefusesIsRefused) {
  Config config = llada_8b();
  config.parallel.tensor_parallel = 4;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { plan_run(config, 6); }),
                       "parallel.tensor_parallel = 4 does not divide 6 ranks"));
  config.parallel.tensor_parallel = 1;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { plan_run(config, 2000); }),
                       "train.batch_size = 1280 is too small for 2000"));
  config.parallel.tensor_parallel = 64;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { plan_run(config, 64); }),
                       "must divide model.num_heads = 32"));
}

// bf16 weights, f32 masters beside the moments.
TEST(RunPlan, RoundedWeights) {
  Config config = llada_8b();
  const RunPlan exact = plan_run(config, 64);
  config.compute.device = DeviceKind::cuda;
  config.compute.dtype = Precision::bf16;
  const RunPlan rounded = plan_run(config, 64);
  EXPECT_NEAR(double(rounded.memory.weights), 2.0 * kParameters, 1e6);
  EXPECT_EQ(rounded.memory.gradients, exact.memory.gradients);
  EXPECT_NEAR(double(rounded.memory.optimizer), 12.0 * kParameters / 64, 1e6);
  EXPECT_NEAR(rounded.forward_weight_bytes, exact.forward_weight_bytes / 2, 1);
  EXPECT_EQ(rounded.gradient_bytes, exact.gradient_bytes);
}

// Of the matrices of the blocks, 32 (4 4096^2 + 3 4096 12288): one moment of 4 bytes instead of
// two. Each is orthogonalised by 5 (4 m^2 n + 2 m^3) operations.
TEST(RunPlan, Muon) {
  Config config = llada_8b();
  const RunPlan adamw = plan_run(config, 1);
  config.optimizer.name = OptimizerName::muon;
  const RunPlan muon = plan_run(config, 1);
  const double C = 4096, F = 12288, matrices = 32 * (4 * C * C + 3 * C * F), largest = 4 * C * F,
               side = 4 * C * C;
  // The largest matrix and its product, and two squares of the shorter side.
  EXPECT_NEAR(double(muon.memory.optimizer),
              double(adamw.memory.optimizer) - 4 * matrices + 2 * largest + 2 * side, 1e6);
  EXPECT_NEAR(double(muon.checkpoint_bytes), double(adamw.checkpoint_bytes) - 4 * matrices, 1);
  EXPECT_DOUBLE_EQ(muon.optimizer_flops,
                   32 * 5 * (4 * 6 * C * C * C + 3 * (4 * C * C * F + 2 * C * C * C)));
  EXPECT_EQ(muon.weight_bytes, 0);
  const MachineFigures machine{
      .flops_per_second = 1e15, .tensor_bytes_per_second = 1e11, .data_bytes_per_second = 1e11};
  EXPECT_NEAR(predict_step(muon, machine).total() - predict_step(adamw, machine).total(),
              muon.optimizer_flops / 1e15, 1e-6);
  // Sharded states are brought together by an all-reduce, and all get the result.
  config.parallel.zero_stage = 1;
  const RunPlan sharded = plan_run(config, 4);
  config.optimizer.name = OptimizerName::adamw;
  EXPECT_NEAR(sharded.weight_bytes - plan_run(config, 4).weight_bytes,
              4 * matrices * (2 * 0.75 + 0.75), 1e6);
}

TEST(RunPlan, MemoryOfAGpu) {
  // 80 GiB hold no 8 B model in f32 with its moments; sharing it among 8 does.
  Config config = llada_8b();
  EXPECT_GT(plan_run(config, 8).memory.total(), 80 * kGiB);
  const auto change = change_that_fits(config, 8, 80 * kGiB);
  ASSERT_TRUE(change.has_value());
}

}  // namespace
}  // namespace lacuna
