#include "app/config_check.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "app/device_memory.h"
#include "app/known_config.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"
#include "data/loader.h"
#include "data/preference_pairs.h"
#include "data/sft_examples.h"
#include "data/source_loader.h"
#include "data/token_file.h"
#include "kernels/backend.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"
#include "training/fitting_layout.h"
#include "training/lora.h"
#include "training/resume.h"
#include "training/run_directory.h"
#include "training/run_length.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Verdict = Finding::Verdict;

/// The configuration before it is known to be valid.
Config unchecked(const CheckRequest& request) {
  Config config;
  try {
    config = parse_config(read_named_file(request.config), request.config);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& e) {
    fail_usage(e.what());
  }
  for (const std::string& text : request.overrides) apply_override(config, text);
  return config;
}

/// The command that the run is for.
RunTask task_of(const CheckRequest& request) {
  if (!request.task.empty()) return parse_word<RunTask>(request.task).value();
  const Config config = unchecked(request);
  try {
    if (!config.data.sources.empty()) return RunTask::pretrain;
    return task_of(TokenFile(config.data.train));
  } catch (const Error&) {
    return !request.init.empty() || config.lora.rank > 0 ? RunTask::sft : RunTask::pretrain;
  }
}

class Check {
 public:
  explicit Check(const CheckRequest& request)
      : request_(request),
        task_(task_of(request)),
        fine_tunes_(task_ != RunTask::pretrain),
        config_(fine_tunes_ ? read_sft_config(request.config, request.overrides, request.init)
                            : read_pretrain_config(request.config, request.overrides)) {
    check_trainable(config_.model);
  }

  std::vector<Finding> findings() {
    add(Verdict::ok, "configuration",
        str(request_.config, ": every key and value is valid; task: ", word_of(task_)));
    attempt("data.train", [&] { return train_data(); });
    if (!config_.data.validation.empty())
      attempt("data.validation", [&] { return validation_data(); });
    if (!config_.train.init.empty())
      attempt("train.init", [&] { return checkpoint("train.init", config_.train.init); });
    if (!config_.dpo.reference.empty() && task_ == RunTask::dpo)
      attempt("dpo.reference", [&] { return checkpoint("dpo.reference", config_.dpo.reference); });
    if (fine_tunes_ && config_.lora.rank > 0) attempt("lora", [&] { return adapters(); });
    attempt("train.output", [&] { return output(); });
    attempt("compute.device", [&] { return device(); });
    attempt("memory", [&] { return memory(); });
    return std::move(findings_);
  }

 private:
  void add(Verdict verdict, const std::string& subject, const std::string& text,
           bool usage = false) {
    findings_.push_back({verdict, subject, text, usage});
  }
  /// What `look` returns is what was found to be right; "" where it has added its own finding.
  void attempt(const char* subject, const std::function<std::string()>& look) {
    try {
      if (const std::string text = look(); !text.empty()) add(Verdict::ok, subject, text);
    } catch (const UsageError& e) {
      add(Verdict::error, subject, e.what(), true);
    } catch (const Error& e) {
      add(Verdict::error, subject, e.what());
    }
  }

  std::string train_data() {
    if (fine_tunes_) check_one_source(config_.data);
    files_ = open_sources(config_);
    data_ = &file_with_tokenizer(files_);
    std::string text;
    for (const TokenFile& file : files_)
      text += str(text.empty() ? "" : ", ", file.path(), ": ", counted(file.tokens(), "token"));
    std::optional<Tokenizer> tokenizer;
    if (!data_->tokenizer_json().empty())
      tokenizer.emplace(
          Tokenizer::from_json(data_->tokenizer_json(), data_->path() + ": its tokenizer"));
    if (!config_.train.sample_every.is_zero() && !tokenizer)
      fail_usage(str("train.sample_every needs a tokenizer, and ", data_->path(), " has none"));
    config_ = resolve_model(config_, *data_, tokenizer ? tokenizer->pad_token() : -1);
    const std::int64_t samples = samples_per_epoch();
    text += str(", ", counted(config_.model.vocab_size, "id"), "; ",
                counted(samples, sample_word()), " per epoch");
    if (left_out_ > 0) text += str(", ", left_out_, " left out as too long");
    if (cut_ > 0) text += str(", ", counted(cut_, "prompt"), " cut at the beginning");
    const std::int64_t steps = last_step(config_.train, samples);
    text += str("; ", counted(steps, "step"), " are ", epochs_of(steps, samples));
    if (!fine_tunes_) check_epochs(steps);
    return text;
  }

  void check_epochs(std::int64_t steps) {
    const auto uses = SourceLoader(config_, files_).use_of(steps * config_.train.batch_size);
    check_max_epochs(uses);
    const double most = most_useful_epochs(config_.train.objective);
    for (const SourceLoader::Use& use : uses)
      if (use.epochs > most)
        add(Verdict::warning, "data.train",
            str(use.path, ": read ", format("%.3g", use.epochs), " times; beyond ", most,
                " times repeated text is of little use to ", word_of(config_.train.objective)));
  }

  const char* sample_word() const {
    return task_ == RunTask::dpo ? "pair" : fine_tunes_ ? "example" : "sequence";
  }

  std::int64_t samples_per_epoch() {
    const std::int64_t length = config_.data.sequence_length;
    const auto seed = std::uint64_t(config_.train.seed);
    if (!fine_tunes_) {
      if (data_->has_responses())
        add(Verdict::warning, "data.train",
            data_->path() + ": was made for lacuna sft; pretraining trains on prompts too");
      return SourceLoader(config_, files_).windows();
    }
    const auto counted_in = [&](const auto& samples) {
      left_out_ = samples.left_out();
      cut_ = samples.cut_prompts();
      return samples.size();
    };
    return task_ == RunTask::dpo ? counted_in(PreferencePairs(*data_, length, seed))
                                 : counted_in(SftExamples(*data_, length, seed));
  }
  std::string epochs_of(std::int64_t steps, std::int64_t samples) const {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g",
                  double(steps) * double(config_.train.batch_size) / double(samples));
    return str(text, text == std::string("1") ? " epoch" : " epochs");
  }

  std::string validation_data() {
    const TokenFile file(config_.data.validation, config_.model.vocab_size);
    if (data_) check_validation_data(config_, file, *data_);
    const std::int64_t length = config_.data.sequence_length;
    if (fine_tunes_)
      return str(file.path(), ": ",
                 counted(task_ == RunTask::dpo ? PreferencePairs(file, length, 0).size()
                                               : SftExamples(file, length, 0).size(),
                         sample_word()));
    const Loader loader(file, length, 0, config_.data.documents);
    return str(file.path(), ": ", counted(loader.windows(), "sequence"), ", ",
               loader.validation_windows(config_.train.eval_samples), " of them used");
  }

  std::string checkpoint(const char* key, const std::string& named) {
    const auto reader = open_model(resolve_checkpoint(named));
    const Config stored = config_of_checkpoint(*reader);
    if (data_) {
      check_same_model(stored.model, config_.model, str(key, " = ", reader->path()));
      if (!same_tokenizer(reader->info().tokenizer, data_->tokenizer_json()))
        add(Verdict::warning, key,
            str("the tokenizer of ", reader->path(), " is not that of ", data_->path(),
                ": the same ids may stand for other text"));
    }
    return str(reader->path(), ": step ", reader->info().step, ", ",
               counted(stored.model.num_layers, "layer"), " of hidden size ",
               stored.model.hidden_size, ", ", counted(stored.model.vocab_size, "id"));
  }

  std::string adapters() const {
    check_lora(config_);
    return str("rank ", config_.lora.rank, " on ", listed(config_.lora.targets, "and"));
  }

  std::int64_t checkpoint_bytes() const {
    return plan_run(config_, int(config_.parallel.tensor_parallel), task_).checkpoint_bytes;
  }

  std::string output() {
    const fs::path run = config_.train.output;
    check_run_folder(run, request_.resume);
    fs::path existing = fs::absolute(run);
    std::error_code ignored;
    while (!fs::exists(existing, ignored) && existing.has_relative_path())
      existing = existing.parent_path();
    CHECK(fs::is_directory(existing, ignored), run.string(), ": cannot be made, as ",
          existing.string(), " is not a directory");
    CHECK(access(existing.c_str(), W_OK | X_OK) == 0, run.string(), ": cannot be written: no ",
          "permission in ", existing.string());
    const fs::space_info space = fs::space(existing, ignored);
    if (ignored || !vocabulary_known()) return run.string() + ": can be written";
    const std::int64_t bytes = checkpoint_bytes();
    // A new one is complete before the oldest is removed.
    const std::int64_t kept = std::max<std::int64_t>(1, config_.train.keep_checkpoints) + 1;
    const std::string text = str(run.string(), ": ", human_bytes(std::int64_t(space.available)),
                                 " free; a checkpoint is about ", human_bytes(bytes));
    if (double(bytes) * double(kept) <= double(space.available)) return text;
    add(Verdict::warning, "train.output",
        str(text, ", and with train.keep_checkpoints = ", config_.train.keep_checkpoints, " ",
            config_.train.keep_checkpoints == 0 ? "all are kept"
                                                : str(kept, " are there at once")));
    return "";
  }

  std::string device() {
    const std::string device = word_of(config_.compute.device);
    try {
      const int count = device_count(device);
      return device == "cpu" ? device : str(device, ": ", counted(count, "device"), " here");
    } catch (const Error& e) {
      // The job may run elsewhere.
      add(Verdict::warning, "compute.device", str("not on this machine: ", e.what()));
      return "";
    }
  }

  bool vocabulary_known() const { return config_.model.vocab_size > 0; }
  int ranks() const {
    return request_.ranks > 0 ? request_.ranks : int(config_.parallel.tensor_parallel);
  }

  std::string memory() {
    if (!vocabulary_known()) {
      add(Verdict::warning, "memory",
          "not estimated: the vocabulary is that of data.train (or model.vocab_size)");
      return "";
    }
    const RunPlan plan = plan_run(config_, ranks(), task_);
    const std::int64_t available =
        request_.memory ? std::int64_t(*request_.memory) : memory_of_device(config_, ranks());
    const std::string text =
        str(human_bytes(plan.memory.total()), " of ", human_bytes(available), " per rank on ",
            counted(ranks(), "rank"), ", ", with_commas(plan.parameters), " parameters");
    if (plan.memory.total() <= available) return text;
    const auto change = change_that_fits(config_, ranks(), available, task_);
    fail(str("does not fit: ", text,
             change ? "; the smallest change that fits: " + *change : std::string()));
  }

  const CheckRequest& request_;
  const RunTask task_;
  const bool fine_tunes_;
  Config config_;
  std::vector<TokenFile> files_;
  const TokenFile* data_ = nullptr;  // the one that is looked at for its tokenizer
  std::int64_t left_out_ = 0, cut_ = 0;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> check_run(const CheckRequest& request) { return Check(request).findings(); }

}  // namespace lacuna
