#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/source_loader.h"
#include "data/token_file.h"
#include "training/run_plan.h"

namespace lacuna {

/// A configuration whose model is complete, for commands that need no data: plan and bench.
struct KnownConfig {
  Config config;
  std::optional<std::int64_t> steps;  // of the run; none where train.epochs needs missing data
  std::vector<std::string> assumed;   // where it leaves something to files that are missing
  std::vector<SourceLoader::Use> sources = {};  // of the run, where the data are there
  RunTask task = RunTask::pretrain;             // that data.train, if it is there, was prepared for
};

/// The model is the configuration's, or that of train.init where it describes none; the vocabulary
/// is that of data.train, if it is there, and otherwise assumed. Errors as read_config's.
KnownConfig known_config(const std::string& path, const std::vector<std::string>& overrides);
/// What the file was prepared for.
RunTask task_of(const TokenFile& file);

/// The configuration of lacuna pretrain: where [model] gives nothing but attention, block_size,
/// causal_context and logits_shift, the rest is the model of train.init, if one is named, which may
/// have another attention. Errors as read_config's.
Config read_pretrain_config(const std::string& path, const std::vector<std::string>& overrides);

/// The configuration of lacuna sft: `init`, if not empty, instead of train.init; the model is that
/// checkpoint's where the configuration describes none. Errors as read_config's; UsageError when no
/// checkpoint is named.
Config read_sft_config(const std::string& path, const std::vector<std::string>& overrides,
                       const std::string& init);

}  // namespace lacuna
