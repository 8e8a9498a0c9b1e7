#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/backend_options.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/decoding_arguments.h"
#include "app/generation_benchmark.h"
#include "app/known_config.h"
#include "app/training_benchmark.h"
#include "core/check.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/text.h"
#include "kernels/bench/op_cases.h"
#include "kernels/bench/peak.h"
#include "kernels/cpu/blas.h"
#include "model/weights.h"
#include "model_io/loaded_model.h"
#include "model_io/read_inference_weights.h"

namespace lacuna {
namespace {

constexpr std::int64_t kTrainingSteps = 10, kGenerated = 128;

struct BenchOptions {
  std::string shape = "34m", ops, config, checkpoint;
  std::vector<std::string> overrides;
  std::optional<std::int64_t> steps, gen_length, block_length;
  GenerationShape generation;
  DecodingArguments decoding;
  BackendOptions backend;
  bool train = false, fp8 = false, generate = false, json = false;

  int used_threads() const { return backend.threads > 0 ? backend.threads : usable_cores(); }
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
    std::printf("GEMMs reach %.1f GFLOP/s, copies %.1f GB/s: the 100 %% below\n\n", peak / 1e9,
                bandwidth / 1e9);
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
  const std::int64_t steps = options.steps.value_or(kTrainingSteps);
  if (options.fp8 && type != DType::bf16) fail_usage("--fp8 needs --dtype bf16");
  const TrainingBenchmark result = benchmark_training(ops, s, steps, type, options.fp8);
  const double peak = measure_matmul_peak(ops, type);
  if (options.json) {
    std::printf("%s\n", nlohmann::json{{"device", description_of(ops)},
                                       {"dtype", options.backend.dtype},
                                       {"fp8", options.fp8},
                                       {"shape", s.name},
                                       {"threads", options.used_threads()},
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
  std::printf("%s; %s%s, %s of %s of %s, %s\n", description_of(ops).c_str(),
              options.backend.dtype.c_str(), options.fp8 ? " and fp8" : "",
              counted(steps, "step").c_str(), counted(s.batch, "sequence").c_str(),
              counted(s.length, "token").c_str(), counted(result.parameters, "parameter").c_str());
  std::printf("%.0f tokens/s, peak memory %s\n", result.tokens_per_s,
              human_bytes(result.peak_bytes).c_str());
  std::printf("%.1f GFLOP/s of executed multiply-adds, %.0f %% of the %.1f that products reach\n",
              result.flops_per_s / 1e9, 100 * result.flops_per_s / peak, peak / 1e9);
  std::printf("%.1f GFLOP/s of those the step needs, %.1f if it computed every logit\n",
              result.model_flops_per_s / 1e9, result.full_head_flops_per_s / 1e9);
  std::printf("%.0f %% of the tokens were predicted; the last loss was %.3f nats per token\n",
              100 * result.predicted_share, result.loss);
}

/// The model that generates, and what describes it.
struct EvalModel {
  std::string name;
  ModelConfig model;
  std::optional<ModelSource> source;  // none: weights are drawn at random
};

EvalModel subject_of(const BenchOptions& options) {
  if (!options.checkpoint.empty()) {
    ModelSource source(options.checkpoint);
    return {source.reader.path(), source.config, std::move(source)};
  }
  if (options.config.empty()) {
    ModelConfig model = model_of(bench_shape(options.shape));
    model.max_seq_length =
        std::max(model.max_seq_length,
                 options.generation.prompt_length + options.gen_length.value_or(kGenerated));
    return {"shape " + options.shape, model, std::nullopt};
  }
  const KnownConfig known = known_config(options.config, options.overrides);
  for (const std::string& assumption : known.assumed) log_info("assumed: " + assumption);
  return {options.config, known.config.model, std::nullopt};
}

GenerationShape generation_of(const BenchOptions& options, const ModelConfig& model) {
  GenerationShape shape = options.generation;
  const std::int64_t room = model.max_seq_length - shape.prompt_length;
  if (room < 1)
    fail_usage(str("--prompt-length ", shape.prompt_length,
                   " leaves no room: model.max_seq_length is ", model.max_seq_length));
  DecodingOptions& s = shape.decoding;
  s = options.decoding.options({});
  s.gen_length = options.gen_length.value_or(std::min(room, kGenerated));
  s.steps = options.steps.value_or(0);
  s.block_length = options.block_length.value_or(0);
  s = resolved(s, model, option_name);
  return shape;
}

GenerationBenchmark measure_generation(Ops& ops, const EvalModel& subject,
                                       const GenerationShape& shape, DType type) {
  const ModelConfig& model = subject.model;
  if (subject.source) {
    const ModelReader& reader = subject.source->reader;
    const InferenceWeights weights(ops.memory(), model, type, storage_of(reader, model, ops, type));
    read_weights(reader, weights, ops);
    return benchmark_generation(ops, model, weights, shape);
  }
  const ModelTensors weights(ops.memory(), model, "weights", type);
  initialise(weights, model, 1, ops);
  return benchmark_generation(ops, model, weights, shape);
}

/// Whole calls of the sampler: what `lacuna sample` does after loading.
void bench_generation(const BenchOptions& options) {
  EvalModel subject = subject_of(options);
  ModelConfig& model = subject.model;
  if (model.mask_token < 0 && model.attention != Attention::causal)
    model.mask_token = model.vocab_size - 1;
  const GenerationShape shape = generation_of(options, model);
  const std::unique_ptr<Ops> backend = options.backend.make();
  Ops& ops = *backend;
  const DType type = options.backend.type();
  const GenerationBenchmark r = measure_generation(ops, subject, shape, type);
  const double peak = measure_matmul_peak(ops, type);
  const double ms_per_pass = r.seconds * 1e3 / double(r.passes),
               tokens_per_second = double(r.tokens) / r.seconds,
               rows_per_second = double(r.rows) / r.seconds;
  if (options.json) {
    std::printf("%s\n", nlohmann::json{{"device", description_of(ops)},
                                       {"dtype", options.backend.dtype},
                                       {"threads", options.used_threads()},
                                       {"model", subject.name},
                                       {"parameters", r.parameters},
                                       {"prompt_length", shape.prompt_length},
                                       {"gen_length", shape.decoding.gen_length},
                                       {"block_length", shape.decoding.block_length},
                                       {"strategy", word_of(shape.decoding.strategy)},
                                       {"cache", word_of(shape.decoding.cache)},
                                       {"batch", shape.batch},
                                       {"rounds", shape.rounds},
                                       {"passes", r.passes},
                                       {"rows", r.rows},
                                       {"logit_rows", r.logit_rows},
                                       {"tokens", r.tokens},
                                       {"tokens_per_pass", double(r.tokens) / double(r.passes)},
                                       {"ms_per_pass", ms_per_pass},
                                       {"tokens_per_second", tokens_per_second},
                                       {"rows_per_second", rows_per_second},
                                       {"flops_per_s", r.flops_per_s},
                                       {"matmul_peak_flops", peak},
                                       {"peak_bytes", r.peak_bytes}}
                            .dump(2)
                            .c_str());
    return;
  }
  std::printf("%s; %s, %s, %s\n", description_of(ops).c_str(), options.backend.dtype.c_str(),
              subject.name.c_str(), counted(r.parameters, "parameter").c_str());
  std::printf("%s of %s after %s, in %s; median of %s\n", counted(shape.batch, "sequence").c_str(),
              counted(shape.decoding.gen_length, "token").c_str(),
              counted(shape.prompt_length, "token").c_str(),
              counted(r.passes, "pass", "passes").c_str(), counted(shape.rounds, "round").c_str());
  std::printf("%.1f tokens/s, %.2f ms per pass, %s rows/s, peak memory %s\n", tokens_per_second,
              ms_per_pass, with_commas(std::int64_t(rows_per_second)).c_str(),
              human_bytes(r.peak_bytes).c_str());
  std::printf("%s of multiply-adds, %.0f %% of the %s that GEMMs reach\n",
              with_prefix(r.flops_per_s, "FLOP/s").c_str(), 100 * r.flops_per_s / peak,
              with_prefix(peak, "FLOP/s").c_str());
}

void bench(const BenchOptions& options) {
  if (options.train) return bench_training(options);
  if (options.generate) return bench_generation(options);
  bench_ops(options);
}

void add_generation_options(Command command, BenchOptions& o, Option generate) {
  const Option config = command.add_option("--config", o.config,
                                           "--generate: a configuration's model, random weights");
  const Option checkpoint = command.add_option("checkpoint,--checkpoint", o.checkpoint,
                                               str("--generate: the model of ", kCheckpointHelp));
  config.needs(generate).excludes(checkpoint);
  checkpoint.needs(generate);
  command
      .add_option("--set", o.overrides,
                  "--config: section.key=value instead of what it says; may be repeated")
      .needs(config)
      .one_value_per_use();
  const auto count = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help).needs(generate).between(1, std::int64_t{1} << 20);
  };
  command
      .add_option("--prompt-length", o.generation.prompt_length,
                  "--generate: random tokens of each prompt")
      .needs(generate)
      .between(0, std::int64_t{1} << 20)
      .show_default();
  o.decoding.add_some_to(
      command,
      {"gen_length", "block_length", "steps", "temperature", "seed", "cfg_scale", "remasking"},
      "--generate: ", "");
  count("--gen-length", o.gen_length, "--generate: tokens to generate [128, or what fits]");
  count("--block-length", o.block_length, "--generate: tokens of a block [--gen-length]");
  count("--batch", o.generation.batch, "--generate: sequences at once").show_default();
  count("--rounds", o.generation.rounds, "--generate: timed; the median counts").show_default();
}

}  // namespace

void add_bench_command(Command app) {
  auto options = std::make_shared<BenchOptions>();
  const Command command = app.add_subcommand(
      "bench", "Measure each operation, training steps or generation on this machine");
  command
      .add_option("--shape", options->shape,
                  "model whose sizes are used: 5m, 34m or 52m, named by parameters; 1b-4 or 8b-2, "
                  "so many blocks of such a model; NAME@LENGTH: with one sequence of LENGTH tokens")
      .show_default();
  command.add_option("--ops", options->ops, "only operations whose name contains this");
  const Option train =
      command.add_flag("--train", options->train, "time whole training steps instead");
  command
      .add_flag("--fp8", options->fp8,
                "--train: the blocks' products in FP8 (compute.linear_dtype), with --dtype bf16")
      .needs(train);
  const Option generate =
      command.add_flag("--generate", options->generate, "time the generation of text instead");
  train.excludes(generate);
  command
      .add_option("--steps", options->steps,
                  "--train: steps to time [10]; --generate: forward passes [--gen-length]")
      .positive();
  add_generation_options(command, *options, generate);
  options->backend.add_to(command);
  options->backend.add_tuning_to(command);
  command.add_flag("--json", options->json, "print JSON");
  command.callback([options] { bench(*options); });
}

}  // namespace lacuna
