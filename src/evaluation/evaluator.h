#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/task.h"
#include "data/chat_template.h"
#include "decoding/decoder.h"
#include "evaluation/distribute_records.h"
#include "kernels/ops.h"
#include "model/model_weights.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// One figure of a task.
struct Metric {
  std::string name;  // lm-evaluation-harness's, where it has one
  double value = 0;
  double standard_error = 0;  // NaN: unknown
  std::int64_t count = 0;     // records, or tokens, it is a mean over
};

struct TaskResult {
  std::vector<Metric> metrics;
  std::int64_t records = 0;
  std::int64_t cut_prompts = 0;          // prompts that lost their beginning, being too long
  std::int64_t unfinished_searches = 0;  // outputs in which task.pattern took too many steps
  DecodingStats generated;               // by all data ranks together; none if there is no pass
};

/// A model under test, or this rank's shard of it. All are borrowed.
struct EvalModel {
  Ops& ops;
  const ModelConfig& config;
  ModelWeights weights;
  const Tokenizer& tokenizer;
  ChatTemplate chat;
  EvalRanks ranks = {};
};

/// Throws UsageError for what a task asks wrongly and no file is needed to see: a pattern that is
/// none, {shots} without a shot_prompt.
void check_task(const TaskConfig& task);

/// Runs a task (docs/evaluation.md). `folder` is the task file's. Deterministic: record i's masks
/// and noise are named by the task's seeds and i. All ranks of the subject make the same call and
/// get the same result, that of one rank with as many threads: records, or of a perplexity task
/// forward passes, are distributed over the data ranks. `observe` is called for each record, in
/// order.
///   multiple_choice  acc (of the least nats), acc_norm (of the least nats per character of the
///                    choice, a code point), acc_bytes (per byte of its UTF-8)
///   generation       accuracy
///   perplexity       bits_per_byte, nats_per_token: a text longer than model.max_seq_length is
///                    scored in pieces of that length, each on its own
///   infilling        gaps, records: the share of gaps, and of records wholly, that are right
///   reversal         forward, reverse: accuracy in each direction
/// Throws Error naming file and line for records that lack something, and for a prompt that cannot
/// be cut; UsageError for a task that the model cannot do.
TaskResult evaluate(const EvalModel& subject, const TaskConfig& task,
                    const std::filesystem::path& folder, const RecordObserver& observe = {});

}  // namespace lacuna
