#pragma once
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/atomic_file.h"
#include "core/philox.h"
#include "data/token_file.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/weights.h"
#include "tests/support/support.h"
#include "training/trainer.h"

namespace lacuna::testing {

/// Ids of a corpus whose text is the numbers 0 … kCycle - 1 again and again: the entropy of a token
/// on its own is ln kCycle, but any one of a sequence gives away all the others.
inline constexpr std::int32_t kCycle = 16, kMask = 16, kEnd = 17, kVocabulary = 18;

inline void write_cycle(const std::string& path, std::int64_t tokens,
                        const std::string& tokenizer = "", std::int64_t vocabulary = kVocabulary) {
  TokenFileWriter writer(path, {vocabulary, kMask, kEnd, tokenizer});
  std::vector<std::int32_t> text;
  for (std::int64_t i = 0; i < tokens; ++i) text.push_back(std::int32_t(i % kCycle));
  writer.append(text);
  writer.end_document();
  writer.finish();
  writer.commit();
}

/// Questions of some numbers in a row, whose answer is the next ones: of `examples` lengths each.
inline void write_questions(const std::string& path, std::int64_t examples) {
  TokenFileWriter writer(path, {kVocabulary, kMask, kEnd, "", true});
  const CounterRng rng{7, Purpose::benchmark};
  for (std::int64_t i = 0; i < examples; ++i) {
    const auto start = std::int64_t(rng.below(kCycle, std::uint32_t(3 * i)));
    const auto prompt = 2 + std::int64_t(rng.below(6, std::uint32_t(3 * i + 1)));
    const auto reply = 1 + std::int64_t(rng.below(7, std::uint32_t(3 * i + 2)));
    std::vector<std::int32_t> given, wanted;
    for (std::int64_t j = 0; j < prompt; ++j) given.push_back(std::int32_t((start + j) % kCycle));
    for (std::int64_t j = prompt; j < prompt + reply; ++j)
      wanted.push_back(std::int32_t((start + j) % kCycle));
    wanted.push_back(kEnd);
    writer.append(given, false);
    writer.append(wanted, true);
    writer.end_document();
  }
  writer.finish();
  writer.commit();
}

/// A run of a tiny model, all of whose files lie in a folder of its own.
class TinyRun {
 public:
  TinyRun() {
    write_cycle(folder / "train.h5", 4000);
    write_cycle(folder / "validation.h5", 1000);
    config.model.num_layers = 2;
    config.model.hidden_size = 16;
    config.model.num_heads = 2;
    config.model.intermediate_size = 24;
    config.model.max_seq_length = 32;
    config.data.train = folder / "train.h5";
    config.data.validation = folder / "validation.h5";
    config.data.sequence_length = 32;
    config.train.output = folder / "run";
    config.train.steps = 10;
    config.train.batch_size = 4;
    config.train.micro_batch_size = 2;
    config.train.random_length_fraction = 0.3;
    config.train.eval_every = 5;
    config.train.eval_samples = 8;
    config.train.log_every = 1;
    config.train.checkpoint_every = 5;
    config.train.keep_checkpoints = 0;
    config.optimizer.warmup_steps = 3;
    config.optimizer.decay_steps = 4;
    config.optimizer.learning_rate = 1e-2;
    config.optimizer.min_learning_rate = 1e-3;
  }
  Trainer trainer(bool resume = false) {
    return Trainer(config, ops, {.resume = resume, .trace = {}, .matmul_peak = 1e9});
  }
  /// Of fine-tuning.
  static TrainerOptions sft_options(const Config& c, bool resume = false,
                                    const std::string& trace = "") {
    return {.resume = resume,
            .trace = trace,
            .matmul_peak = 1e9,
            .task = sft_task,
            .trained = sft_trained(c.lora)};
  }
  /// The same run in another folder.
  Config in(const std::string& name) const {
    Config other = config;
    other.train.output = folder / name;
    return other;
  }
  std::string output(const std::string& file) const { return config.train.output + "/" + file; }

  Folder folder;
  Config config;
  CpuOps ops{1};
};

inline bool same_bits(const ModelTensors& a, const ModelTensors& b) {
  return a.flat().bytes() == b.flat().bytes() &&
         std::memcmp(a.flat().data, b.flat().data, std::size_t(a.flat().bytes())) == 0;
}

inline std::vector<nlohmann::ordered_json> json_lines(const std::string& path) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);)
    lines.push_back(nlohmann::ordered_json::parse(line));
  return lines;
}

/// metrics.jsonl without what depends on the clock.
inline std::string untimed_metrics(const std::string& path) {
  std::string text;
  for (nlohmann::ordered_json& line : json_lines(path)) {
    for (const char* key : {"tokens_per_second", "mfu", "elapsed", "data_seconds",
                            "communication_seconds", "checkpoint_seconds"})
      line.erase(key);
    text += line.dump() + "\n";
  }
  return text;
}

}  // namespace lacuna::testing
