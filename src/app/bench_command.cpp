#include <CLI/App.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "app/commands.h"
#include "kernels/bench/op_cases.h"
#include "kernels/bench/peak.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {
namespace {

struct BenchOptions {
  std::string shape = "34m", ops;
  int threads = 0;
  bool json = false;
};

/// One line per operation: the median time, and how near it comes to what limits it. More than
/// 100 % of the copy bandwidth means that the tensors lay in cache.
void bench_ops(const BenchOptions& options) {
  CpuOps ops(options.threads);
  const OpCases cases(ops, bench_shape(options.shape));
  const auto chosen = [&](const OpCase& c) {
    return c.name.find(options.ops) != std::string::npos;
  };
  if (std::none_of(cases.all().begin(), cases.all().end(), chosen))
    fail_usage(str("no operation's name contains \"", options.ops, "\""));
  const double peak = measure_matmul_peak(ops), bandwidth = measure_copy_bandwidth(ops);
  nlohmann::json result = {{"device", ops.description()},   {"blas", blas_description()},
                           {"shape", options.shape},        {"matmul_peak_flops", peak},
                           {"copy_bytes_per_s", bandwidth}, {"ops", nlohmann::json::array()}};
  if (!options.json) {
    std::printf("%s, %s; shape %s\n", ops.description().c_str(), blas_description().c_str(),
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

}  // namespace

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "How fast this machine runs each operation.");
  command
      ->add_option("--shape", options->shape,
                   "model whose sizes are used: 5m, 34m or 52m, named by parameters")
      ->capture_default_str();
  command->add_option("--ops", options->ops, "only operations whose name contains this");
  command->add_option("--threads", options->threads, "threads; 0: every core");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { bench_ops(*options); });
}

}  // namespace lacuna
