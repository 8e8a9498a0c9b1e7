#include <CLI/App.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "app/backend_options.h"
#include "app/commands.h"
#include "app/training_benchmark.h"
#include "core/machine.h"
#include "core/text.h"
#include "kernels/bench/op_cases.h"
#include "kernels/bench/peak.h"
#include "kernels/cpu/blas.h"

namespace lacuna {
namespace {

struct BenchOptions {
  std::string shape = "34m", ops;
  std::int64_t steps = 10;
  BackendOptions backend;
  bool train = false, json = false;
};

/// The device and what multiplies its matrices.
std::string description_of(const Ops& ops) {
  return ops.description() + ", " +
         (ops.place() == Place::host ? blas_description() : std::string("cuBLASLt"));
}

/// One line per operation: the median time, and how near it comes to what limits it. More than
/// 100 % of the copy bandwidth means that the tensors lay in cache.
void bench_ops(const BenchOptions& options) {
  const std::unique_ptr<Ops> backend = options.backend.make();
  Ops& ops = *backend;
  const DType type = options.backend.type();
  const OpCases cases(ops, bench_shape(options.shape), type);
  const auto chosen = [&](const OpCase& c) {
    return c.name.find(options.ops) != std::string::npos;
  };
  if (std::none_of(cases.all().begin(), cases.all().end(), chosen))
    fail_usage(str("no operation's name contains \"", options.ops, "\""));
  const double peak = measure_matmul_peak(ops, type), bandwidth = measure_copy_bandwidth(ops);
  nlohmann::json result = {{"device", description_of(ops)}, {"dtype", options.backend.dtype},
                           {"shape", options.shape},        {"matmul_peak_flops", peak},
                           {"copy_bytes_per_s", bandwidth}, {"ops", nlohmann::json::array()}};
  if (!options.json) {
    std::printf("%s; %s, shape %s\n", description_of(ops).c_str(), options.backend.dtype.c_str(),
                options.shape.c_str());
    std::printf("matrix products reach %.1f GFLOP/s, copies %.1f GB/s: the 100 %% below\n\n",
                peak / 1e9, bandwidth / 1e9);
    std::printf("%-24s %-24s %10s %16s %7s\n", "operation", "tensors", "ms", "rate", "share");
  }
  for (const OpCase& c : cases.all()) {
    if (!chosen(c)) continue;
    const OpTiming timing = time_case(ops, c);
    const bool computes = c.flops > 0;
    const double rate = (computes ? c.flops : c.bytes) / timing.seconds;
    const double share = rate / (computes ? peak : bandwidth);
    if (options.json) {
      result["ops"].push_back({{"name", c.name},
                               {"tensors", c.shape},
                               {"seconds", timing.seconds},
                               {"calls", timing.calls},
                               {computes ? "flops_per_s" : "bytes_per_s", rate},
                               {"share", share}});
    } else {
      std::printf("%-24s %-24s %10.3f %9.1f %s %5.0f %%\n", c.name.c_str(), c.shape.c_str(),
                  timing.seconds * 1e3, rate / 1e9, computes ? "GFLOP/s" : "GB/s   ", share * 100);
      std::fflush(stdout);
    }
  }
  if (options.json) std::printf("%s\n", result.dump(2).c_str());
}

/// Whole training steps, the figures that scripts/bench_vs_torch.py compares.
void bench_training(const BenchOptions& options) {
  const std::unique_ptr<Ops> backend = options.backend.make();
  Ops& ops = *backend;
  const DType type = options.backend.type();
  const BenchShape& s = bench_shape(options.shape);
  const TrainingBenchmark result = benchmark_training(ops, s, options.steps, type);
  const double peak = measure_matmul_peak(ops, type);
  if (options.json) {
    const int threads = options.backend.threads;
    std::printf("%s\n", nlohmann::json{{"device", description_of(ops)},
                                       {"dtype", options.backend.dtype},
                                       {"shape", s.name},
                                       {"threads", threads > 0 ? threads : usable_cores()},
                                       {"parameters", result.parameters},
                                       {"tokens_per_s", result.tokens_per_s},
                                       {"flops_per_s", result.flops_per_s},
                                       {"model_flops_per_s", result.model_flops_per_s},
                                       {"full_head_flops_per_s", result.full_head_flops_per_s},
                                       {"matmul_peak_flops", peak},
                                       {"predicted_share", result.predicted_share},
                                       {"loss", result.loss},
                                       {"peak_bytes", result.peak_bytes}}
                            .dump(2)
                            .c_str());
    return;
  }
  std::printf("%s; %s, %lld steps of %lld sequences of %lld tokens, %s parameters\n",
              description_of(ops).c_str(), options.backend.dtype.c_str(), (long long)options.steps,
              (long long)s.batch, (long long)s.length, with_commas(result.parameters).c_str());
  std::printf("%.0f tokens/s, peak memory %s\n", result.tokens_per_s,
              human_bytes(result.peak_bytes).c_str());
  std::printf("%.1f GFLOP/s of executed multiply-adds, %.0f %% of the %.1f that products reach\n",
              result.flops_per_s / 1e9, 100 * result.flops_per_s / peak, peak / 1e9);
  std::printf("%.1f GFLOP/s of those the step needs, %.1f if it computed every logit\n",
              result.model_flops_per_s / 1e9, result.full_head_flops_per_s / 1e9);
  std::printf("%.0f %% of the tokens were predicted; the last loss was %.3f nats per token\n",
              100 * result.predicted_share, result.loss);
}

}  // namespace

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "How fast this machine runs each operation, or training.");
  command
      ->add_option(
          "--shape", options->shape,
          "model whose sizes are used: 5m, 34m or 52m, named by parameters; 1b-4 or 8b-2, "
          "so many blocks of such a model; NAME@LENGTH: with one sequence of LENGTH tokens")
      ->capture_default_str();
  command->add_option("--ops", options->ops, "only operations whose name contains this");
  command->add_flag("--train", options->train, "time whole training steps instead");
  command->add_option("--steps", options->steps, "--train: steps to time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  options->backend.add_to(*command);
  options->backend.add_tuning_to(*command);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { options->train ? bench_training(*options) : bench_ops(*options); });
}

}  // namespace lacuna
