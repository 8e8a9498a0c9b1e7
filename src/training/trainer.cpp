#include "training/trainer.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "checkpoint/checkpoint_config.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "kernels/bench/peak.h"
#include "model/fp8_linear.h"
#include "model_io/read_inference_weights.h"
#include "model_io/tensor_io.h"
#include "training/block_schedule.h"
#include "training/gemm_tuning.h"
#include "training/resume.h"
#include "training/run_length.h"
#include "training/schedule.h"
#include "training/trace.h"

namespace lacuna {
namespace {

/// Whether something that happens every so many steps of a run of `steps` does after this one.
bool due(std::int64_t step, const StepCount& every, std::int64_t steps) {
  const std::int64_t interval = every.interval(steps);
  return interval > 0 && step % interval == 0;
}

/// The caller's ranks, or this one alone.
std::shared_ptr<const DeviceMesh> grid_of(const TrainerOptions& options, Ops& ops) {
  if (options.grid) return {std::shared_ptr<const DeviceMesh>(), options.grid};
  return std::make_shared<const DeviceMesh>(std::make_unique<SelfCommunicator>("world", &ops), 1);
}

/// Before anything is allocated.
Ops& with_linear_dtype(Ops& ops, const Config& config) {
  if (config.compute.linear_dtype == LinearDtype::fp8) check_fp8_device(ops);
  return ops;
}

Ops* host_of(const TrainerOptions& options, const Config& config) {
  if (!config.optimizer.cpu_offload) return nullptr;
  CHECK(options.host, "optimizer.cpu_offload without a CPU to compute on");
  return options.host;
}

/// UsageError when a step has fewer samples than there are data-parallel ranks.
SampleRange samples_of_rank(const Config& config, const DeviceMesh& grid) {
  const int ranks = grid.data().size();
  if (config.train.batch_size < ranks)
    fail_usage(str("train.batch_size = ", config.train.batch_size, " is too small for ", ranks,
                   " data parallel ranks; make it ", ranks, " or more"));
  return share_of_samples(config.train.batch_size, grid.data().rank(), ranks);
}

std::unique_ptr<GradientNoiseProbe> noise_probe_of(const Config& config, const Task& task,
                                                   const DeviceMesh& grid,
                                                   const ModelReplica& replica, Ops& ops) {
  if (!config.train.log_gradient_noise) return nullptr;
  if (!task.source().has_whole_samples())
    fail_usage(
        "train.log_gradient_noise = true is not for preference tuning, where the masks of a "
        "pair may be in several micro-batches");
  return std::make_unique<GradientNoiseProbe>(ops, config, grid, replica);
}

/// One replica of the model draws; the ranks of the others go on, and wait for it in the next step.
std::unique_ptr<SampleText> sample_text_of(const TrainingData& data, const ModelReplica& replica,
                                           const DeviceMesh& grid, Ops& ops) {
  if (data.config.train.sample_every.is_zero()) return nullptr;
  if (!data.tokenizer)
    fail_usage(str("train.sample_every needs a tokenizer, and ", data.file.path(), " has none"));
  if (grid.data().rank() > 0) return nullptr;
  return std::make_unique<SampleText>(ops, data.config, replica.views(), *data.tokenizer,
                                      &grid.tensor());
}

}  // namespace

Trainer::Trainer(const Config& config, Ops& ops, const TrainerOptions& options)
    : ops_(with_linear_dtype(ops, config)),
      grid_(grid_of(options, ops)),
      team_(grid_->world()),
      directory_(config.train.output, options.resume, team_),
      data_(config),
      config_(data_.config),
      task_(options.task(data_, grid_->world())),
      samples_(samples_of_rank(config_, *grid_)),
      replica_(ops, config_, *grid_, options.bucket_bytes, options.trained),
      batch_(ops, config_, replica_.views(), task_, samples_, &grid_->tensor()),
      updater_(ops, config_, *grid_, replica_, host_of(options, config_)),
      noise_(noise_probe_of(config_, task_, *grid_, replica_, ops)),
      sample_text_(sample_text_of(data_, replica_, *grid_, ops)),
      trace_(options.trace) {
  check_same_on_all_ranks(
      grid_->world(), str("tokens = ", data_.tokens(), "\nids = ", data_.file.vocab_size(), "\n"),
      "the data in data.train");
  take_weights();
  steps_ = last_step(config_.train, task_.source().samples_per_epoch(), state_);
  check_max_epochs(sources_of_run());
  log_setup();
  GemmTuning tuning(ops_, grid_->world(), directory_.path() / "product_algorithms.txt");
  batch_.objective().prepare(replica_.gradients);
  readbacks_ = StepReadback::make(ops_, 2);
  if (config_.train.async_checkpoint) allocate_staging();
  const double peak =
      options.matmul_peak > 0
          ? options.matmul_peak
          : reduced(grid_->world(), measure_matmul_peak(ops_, replica_.weights.dtype()));
  if (first_rank()) {
    directory_.open(config_);
    log_ = std::make_unique<RunLog>(config_, steps_, directory_.path(), state_.step, peak);
    validated_step_ = log_->last_validation();
  }
  tuning.save();
  validated_step_ = std::int64_t(reduced(grid_->world(), double(validated_step_), Reduce::max));
}

Trainer::~Trainer() = default;

TrainResult Trainer::run(const std::function<bool()>& stop_requested) {
  const TrainConfig& train = config_.train;
  // A session that was stopped right after its last step left this to us.
  if (state_.step > 0 && due(state_.step, train.eval_every, steps_)) validate();
  bool stopping = false, to_save = false;
  while (state_.step < steps_) {
    queue_step();
    if (!queued_->readback) finish_step();
    if (saving_ && !agreed(!saving_->written())) finish_save();
    const bool last = state_.step == steps_;
    stopping = stopping || (stop_requested && agreed(stop_requested()));
    to_save |= last || stopping || due(state_.step, train.checkpoint_every, steps_);
    const bool validates = last || due(state_.step, train.eval_every, steps_);
    const bool samples =
        !train.sample_every.is_zero() && (last || due(state_.step, train.sample_every, steps_));
    if (to_save || validates || samples) finish_step();
    if (!last && stopping && bad_in_a_row_ == 0) {
      save();
      finish_save();
      return {state_.step, steps_, true, checkpoint_};
    }
    if (validates) validate();
    // After a bad step nothing is known to be better than what was saved before: it waits for a
    // good one, as a wish to stop does, or for the end of the run by max_bad_steps.
    if (to_save && bad_in_a_row_ == 0) {
      save();
      to_save = false;
    }
    if (samples) {
      const std::string text = with_average(updater_, [&] {
        return uneven_passes(replica_.gatherer.get(),
                             [&] { return sample_text_ ? sample_text_->draw() : std::string(); });
      });
      if (log_) log_->sample(state_.step, text);
    }
  }
  finish_save();
  CHECK(bad_in_a_row_ == 0, "the loss or gradient was not finite in the last step, ", state_.step,
        bad_in_a_row_ > 1 ? str(", and ", bad_in_a_row_ - 1, " before it") : std::string(),
        ": no checkpoint was saved after it", advice_after_bad_steps());
  return {state_.step, steps_, false, checkpoint_};
}

bool Trainer::is_logged(std::int64_t step) const {
  return step == steps_ || due(step, config_.train.log_every, steps_);
}

bool Trainer::agreed(bool here) { return any_rank(grid_->world(), here); }

double Trainer::communication_seconds() const {
  return grid_->world().stats().waited_seconds + grid_->data().stats().waited_seconds +
         grid_->tensor().stats().waited_seconds;
}

void Trainer::gather_weights() {
  uneven_passes(replica_.gatherer.get(), [] { return 0; });
}

/// Ranks of a tensor parallel group have the same figures.
void Trainer::sum_over_ranks(BatchResult& batch) {
  std::vector<double> sums = {batch.loss, double(batch.tokens), batch.flops};
  for (const Figure& f : batch.figures) sums.push_back(f.value);
  grid_->data().all_reduce(Tensor(sums.data(), Shape{std::int64_t(sums.size())}), Reduce::sum);
  grid_->data().wait();
  batch.loss = sums[0];
  batch.tokens = std::int64_t(sums[1]);
  batch.flops = sums[2];
  for (std::size_t i = 0; i < batch.figures.size(); ++i) batch.figures[i].value = sums[3 + i];
}

StepResult Trainer::step() {
  queue_step();
  return read_step();
}

void Trainer::begin_interval() {
  interval_ = Stopwatch();
  aside_seconds_ = waited_aside_ = 0;
  waited_before_ = communication_seconds();
}

/// Queues a step. On a device the losses and the norm of the step before are read only now, when it
/// has this one's passes to compute; its update is queued after that, because it is numbered by the
/// updates that were not skipped.
void Trainer::queue_step() {
  if (!queued_) begin_interval();
  Trace trace;
  const auto observer = [&](const LossBatch& batch) { trace.add(batch); };
  QueuedStep next;
  next.measured_noise = noise_ && is_logged(state_.step + 1);
  const auto measure_part = [&](const LossBatch& first) {
    noise_->measure_part(samples_in(first));
  };
  const bool reads_later = !readbacks_.empty() && trace_.empty() && !next.measured_noise;
  if (reads_later) next.readback = readbacks_[std::size_t(state_.step % 2)].get();
  next.batch =
      batch_.run(state_.step, state_.samples, replica_.gradients,
                 trace_.empty() ? BatchObserver() : observer, &replica_.data_parallel,
                 next.measured_noise ? measure_part : FirstGradientsObserver(), next.readback);
  aside_seconds_ += next.batch.wait_seconds;
  finish_step();
  if (!next.batch.loss_is_queued) {
    next.readback = nullptr;
    sum_over_ranks(next.batch);
  }
  updater_.measure(next.readback ? next.readback->check() : Tensor());
  if (next.readback)
    next.readback->end(updater_.optimizer().norm().squares(), updater_.optimizer().norm().scale());
  next.learning_rate = scheduled_learning_rate(config_.optimizer, steps_, state_.step + 1);
  if (!trace_.empty()) {
    const double waited = communication_seconds();
    const Stopwatch aside;
    write_trace(trace, next.batch.loss);
    aside_seconds_ += aside.seconds();
    waited_aside_ += communication_seconds() - waited;
  }
  // A norm that is not finite is found on the device, which then updates nothing; so is a loss that
  // is still there.
  if (next.readback || std::isfinite(next.batch.loss))
    updater_.update(next.learning_rate, state_.updates() + 1);
  ++state_.step;
  state_.samples += config_.train.batch_size;
  queued_ = std::move(next);
}

/// What became of the queued step, the last one.
StepResult Trainer::read_step() {
  QueuedStep step = std::move(*queued_);
  queued_.reset();
  if (step.readback) {
    step.readback->wait();
    step.batch.loss = step.readback->loss();
    sum_over_ranks(step.batch);
  }
  StepResult result;
  result.loss = step.batch.loss;
  result.figures = std::move(step.batch.figures);
  result.learning_rate = step.learning_rate;
  result.grad_norm = step.readback ? step.readback->gradient_norm() : updater_.gradient_norm();
  if (step.measured_noise)
    for (Figure& f : noise_->figures(result.grad_norm)) result.figures.push_back(std::move(f));
  result.skipped = step.readback ? !step.readback->updated()
                                 : !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  state_.bad_steps += result.skipped;
  state_.tokens += step.batch.tokens;
  result.record = {
      .loss = step.batch.loss,
      .tokens = step.batch.tokens,
      .flops = step.batch.flops,
      .seconds = interval_.seconds() - aside_seconds_,
      .data_seconds = step.batch.wait_seconds,
      .communication_seconds = communication_seconds() - waited_before_ - waited_aside_};
  begin_interval();
  return result;
}

/// Reads and logs the queued step, if there is one.
void Trainer::finish_step() {
  if (!queued_) return;
  const StepResult result = read_step();
  if (log_) log_->step(state_, result);
  check_bad_steps(result);
}

void Trainer::write_trace(const Trace& trace, double loss) {
  trace.write(trace_, config_,
              {state_.step + 1, loss, updater_.gradient_norm(), replica_.reduced, replica_.shard,
               replica_.weights, replica_.frozen ? &*replica_.frozen : nullptr},
              {samples_.first, replica_.parts, config_.train.noisy_views}, team_, ops_);
  log_info(str("trace of step ", state_.step + 1, " written to ", trace_.string()));
  trace_.clear();
}

void Trainer::check_bad_steps(const StepResult& result) {
  bad_in_a_row_ = result.skipped ? bad_in_a_row_ + 1 : 0;
  if (bad_in_a_row_ == config_.train.max_bad_steps) finish_save();  // it is of a good step
  CHECK(bad_in_a_row_ < config_.train.max_bad_steps, "the loss or gradient was not finite in ",
        counted(bad_in_a_row_, "step"), " in a row, the last being step ", state_.step,
        " (train.max_bad_steps = ", config_.train.max_bad_steps, ")", advice_after_bad_steps());
}

std::string Trainer::advice_after_bad_steps() const {
  return "; try a lower optimizer.learning_rate or a longer optimizer.warmup_steps" +
         (checkpoint_.empty() ? "" : ", going on from " + checkpoint_.string());
}

void Trainer::validate() {
  if (!task_.validator() || validated_step_ >= state_.step) return;
  const ValidationResult result = with_average(
      updater_, [&] { return task_.validator()->run(batch_.objective(), grid_->data()); });
  if (log_) log_->validation(state_.step, result);
  validated_step_ = state_.step;
}

void Trainer::allocate_staging() {
  staging_ = std::make_unique<Arena>(
      host_memory(), CheckpointSave::staging_plan(replica_.weights, updater_.saved()));
  // Written to here, so that no page is first touched, and zeroed by the kernel, during a save.
  for (int i = 0; i < int(staging_->plan().entries().size()); ++i) {
    const Tensor t = (*staging_)[Slot{i}];
    std::memset(t.data, 0, std::size_t(t.bytes()));
  }
}

void Trainer::save() {
  if (saved_step_ == state_.step) return;
  finish_save();
  const Stopwatch stopwatch;
  const std::filesystem::path path = checkpoint_path(config_.train.output, state_.step);
  saving_ = std::make_unique<CheckpointSave>(
      path, checkpoint_info(state_, saved_config(), data_.file.tokenizer_json(), imported_),
      replica_.weights, updater_.saved(), team_, ops_, staging_.get());
  saved_step_ = state_.step;
  if (log_) log_->checkpoint(stopwatch.seconds());
  if (!staging_) finish_save();
}

/// Only now is the checkpoint before it one too many.
void Trainer::finish_save() {
  if (!saving_) return;
  const Stopwatch stopwatch;
  saving_->finish();
  if (log_) log_->checkpoint(stopwatch.seconds());
  checkpoint_ = saving_->path();
  saving_.reset();
  if (first_rank()) prune_checkpoints(config_.train.output, config_.train.keep_checkpoints);
}

/// Of adapters, the frozen weights too.
void Trainer::take_weights() {
  std::unique_ptr<const ModelReader> init;
  if (replica_.frozen) {
    init = open_init();
    read_weights(*init, *replica_.frozen, ops_);
    base_ = std::filesystem::absolute(init->path()).lexically_normal().string();
  }
  if (directory_.checkpoint()) return resume_from(*directory_.checkpoint());
  const auto seed = std::uint64_t(config_.train.seed);
  if (config_.train.init.empty() || replica_.frozen)
    initialise(updater_.first_weights(), replica_.weights, config_.model, seed,
               updater_.first_weights_ops());
  else
    read_pieces(*open_init(), "model", replica_.weights, updater_.first_weights(),
                updater_.first_weights_ops());
  updater_.start();
}

/// Adapters are of no use without the weights that they were trained beside: a checkpoint says
/// where those are, wherever it is used from.
Config Trainer::saved_config() const {
  Config saved = config_;
  if (replica_.frozen) saved.train.init = base_;
  return saved;
}

void Trainer::resume_from(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint);
  const std::string name = checkpoint.string();
  if (replica_.frozen && reader.has("model", embedding_name()))
    fail(name +
         ": holds a whole model, as LoRA of an earlier version saved it, and no adapters that "
         "could be trained further; it serves as train.init of a new run");
  const Config before = config_of_checkpoint(reader);
  const auto changes = changes_on_resume(before, config_, name);
  if (!same_tokenizer(reader.info().tokenizer, data_.file.tokenizer_json()))
    fail_usage(
        str("data.train = ", data_.file.path(), " was made with another tokenizer than ", name));
  state_ = updater_.load(reader);
  check_sources_on_resume(before, config_, state_.step);
  imported_ = reader.info().extra;
  checkpoint_ = checkpoint;
  saved_step_ = state_.step;
  log_info(str("resuming from ", name, ", after step ", state_.step));
  for (const std::string& change : changes) log_info("changed since: " + change);
}

/// train.init, of which imported_ is remembered.
std::unique_ptr<const ModelReader> Trainer::open_init() {
  const std::string& init = config_.train.init;
  if (init.empty())
    fail_usage("train.init names no model to train adapters of; --init does, or lora.rank = 0");
  const std::string path =
      shared_text(grid_->world(), first_rank() ? resolve_checkpoint(init).string() : "");
  std::unique_ptr<const ModelReader> reader = open_model(path);
  check_same_model(config_of_checkpoint(*reader).model, config_.model, "train.init = " + path);
  if (!same_tokenizer(reader->info().tokenizer, data_.file.tokenizer_json()) && first_rank())
    log_warning(str("the tokenizer of train.init = ", path, " is not that of ", data_.file.path(),
                    ": the same ids may mean other text"));
  // Of tensors of which each rank reads parts.
  if (team_.size() > 1) verify_checkpoint(path, team_);
  imported_ = reader->info().extra;
  log_info("weights from " + path);
  return reader;
}

std::vector<SourceLoader::Use> Trainer::sources_of_run() const {
  return task_.source().sources(state_.samples + (steps_ - state_.step) * config_.train.batch_size);
}

void Trainer::log_sources() const {
  const double most = most_useful_epochs(config_.train.objective);
  for (const SourceLoader::Use& use : sources_of_run()) {
    const std::string passes = str(use.path, ": ", counted(use.tokens, "token"), ", read ",
                                   format("%.3g", use.epochs), " times in this run");
    if (!config_.data.sources.empty()) log_info(passes);
    if (use.epochs > most && first_rank())
      log_warning(str(passes, "; beyond ", most, " times repeated text is of little use to ",
                      word_of(config_.train.objective)));
  }
}

void Trainer::log_setup() {
  log_info(str("model: ", counted(count_parameters(config_.model), "parameter"),
               "; data: ", counted(data_.tokens(), "token"), ", ", task_.source().description(),
               "; validation: ", task_.validator() ? task_.validator()->description() : "none"));
  if (const std::string epochs =
          epochs_summary(config_.train, task_.source().samples_per_epoch(), steps_);
      !epochs.empty())
    log_info(epochs);
  log_sources();
  log_info(schedule_summary(config_.optimizer, steps_));
  if (const std::string blocks = block_schedule_summary(config_); !blocks.empty()) log_info(blocks);
  if (const std::string cut = schedule_shortening(config_.optimizer, steps_);
      !cut.empty() && first_rank())
    log_warning(cut);
  if (replica_.frozen)
    log_info(str("LoRA rank ", config_.lora.rank, ": ", with_commas(replica_.weights.parameters()),
                 " trainable parameters; frozen weights in ", human_bytes(replica_.frozen->bytes()),
                 config_.lora.base_dtype == BaseDtype::automatic
                     ? std::string()
                     : str(", matrices in ", word_of(config_.lora.base_dtype))));
  if (const int ranks = grid_->world().size(); ranks > 1)
    log_info(str(ranks, " ranks: ", grid_->data().size(), " data parallel, each with ",
                 grid_->tensor().size() > 1
                     ? str("a copy of the model on ", grid_->tensor().size(), " ranks")
                     : str("a copy of the model"),
                 replica_.data_parallel.shards_weights()
                     ? "; optimizer states, gradients and weights are sharded"
                 : replica_.data_parallel.each_micro_batch()
                     ? "; optimizer states and gradients are sharded"
                 : replica_.data_parallel.sharded() ? "; optimizer states are sharded"
                                                    : ""));
  const std::int64_t owned = (replica_.frozen ? replica_.frozen->bytes() : 0) +
                             replica_.weight_bytes() + replica_.gradient_bytes() + updater_.bytes();
  log_info(str(ops_.description(), "; memory: ", human_bytes(owned),
               " for weights, gradients and moments, ",
               human_bytes(batch_.objective().model().plan().bytes()), " for activations"));
  if (state_.step >= steps_)
    log_info(str("already at step ", state_.step, " of ", steps_, ": nothing to do"));
}

}  // namespace lacuna
