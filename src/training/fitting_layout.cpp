#include "training/fitting_layout.h"

#include <vector>

#include "config/words.h"
#include "core/check.h"
#include "core/text.h"
#include "training/batch_source.h"

namespace lacuna {
namespace {

constexpr int kMostRanks = 1 << 14;  // that a change is looked for among

using Words = std::vector<std::string>;

Config with(Config c, std::int64_t micro_batch, std::int64_t zero, const Words& recompute,
            bool sequence_parallel, std::int64_t tensor) {
  c.train.micro_batch_size = micro_batch;
  c.train.recompute = recompute;
  c.parallel.zero_stage = zero;
  c.parallel.sequence_parallel = sequence_parallel;
  c.parallel.tensor_parallel = tensor;
  return c;
}

bool fits(const Config& config, int ranks, std::int64_t memory, RunTask task) {
  try {
    return plan_run(config, ranks, task).memory.total() <= memory;
  } catch (const UsageError&) {
    return false;
  }
}

}  // namespace

std::optional<int> fewest_ranks_that_fit(const Config& config, std::int64_t memory, RunTask task) {
  for (std::int64_t ranks = config.parallel.tensor_parallel; ranks <= kMostRanks; ranks *= 2)
    if (fits(config, int(ranks), memory, task)) return int(ranks);
  return std::nullopt;
}

std::optional<std::string> change_that_fits(const Config& config, int ranks, std::int64_t memory,
                                            RunTask task) {
  std::vector<std::int64_t> micro_batches;  // the same first, then ever smaller ones
  for (std::int64_t m = config.train.micro_batch_size; m >= 1; --m)
    if (config.train.micro_batch_size % m == 0) micro_batches.push_back(m);
  const auto found = [&](const Config& changed, int on) {
    std::string text;
    const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
    if (on != ranks) add(counted(on, "rank"));
    if (changed.parallel.tensor_parallel != config.parallel.tensor_parallel)
      add(str("parallel.tensor_parallel = ", changed.parallel.tensor_parallel));
    if (changed.parallel.sequence_parallel != config.parallel.sequence_parallel)
      add("parallel.sequence_parallel = true");
    if (changed.train.recompute != config.train.recompute)
      add("train.recompute = " + toml_value(changed.train.recompute));
    if (changed.parallel.zero_stage != config.parallel.zero_stage)
      add(str("parallel.zero_stage = ", changed.parallel.zero_stage));
    if (changed.train.micro_batch_size != config.train.micro_batch_size)
      add(str("train.micro_batch_size = ", changed.train.micro_batch_size));
    return text;
  };
  std::vector<Words> recompute = {config.train.recompute};  // then ever more of it
  const Recompute now = recompute_of(config.train);
  if (!now.block && !now.qkv && !now.gate_up) recompute.push_back({"gate_up"});
  if (!now.block && !(now.qkv && now.gate_up)) recompute.push_back({"gate_up", "qkv"});
  if (!now.block) recompute.push_back({"block"});
  for (int on = ranks; on <= kMostRanks; on *= 2)
    for (std::int64_t tensor = config.parallel.tensor_parallel; tensor <= on; tensor *= 2)
      for (int split = config.parallel.sequence_parallel;
           split <= int(tensor > 1 || config.parallel.sequence_parallel); ++split)
        for (const Words& again : recompute)
          for (std::int64_t zero = config.parallel.zero_stage; zero <= 3; ++zero)
            for (const std::int64_t micro : micro_batches)
              if (const Config changed = with(config, micro, zero, again, split != 0, tensor);
                  fits(changed, on, memory, task))
                return found(changed, on);
  return std::nullopt;
}

}  // namespace lacuna
