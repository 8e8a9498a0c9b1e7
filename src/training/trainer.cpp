#include "training/trainer.h"

#include <cmath>

#include "checkpoint/checkpoint_config.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "data/chat_template.h"
#include "kernels/bench/peak.h"
#include "model_io/tensor_io.h"
#include "training/product_tuning.h"
#include "training/response_source.h"
#include "training/resume.h"
#include "training/run_length.h"
#include "training/schedule.h"
#include "training/trace.h"
#include "training/window_source.h"

namespace lacuna {
namespace {

std::optional<Tokenizer> tokenizer_of(const TokenFile& data) {
  if (data.tokenizer_json().empty()) return std::nullopt;
  return Tokenizer::from_json(data.tokenizer_json(), data.path() + ": its tokenizer");
}

Config resolved(const Config& config, const TokenFile& data,
                const std::optional<Tokenizer>& tokenizer) {
  Config all = resolve_model(config, data, tokenizer ? tokenizer->pad_token() : -1);
  const auto begin = tokenizer ? tokenizer->id_of(ChatTemplate{}.begin) : std::nullopt;
  if (begin && all_begin_with(*begin, data)) all.model.add_bos_token = true;
  if (all.train.steps == -1 && all.train.epochs == 0) all.train.steps = TrainConfig::kDefaultSteps;
  return all;
}

DType type_of(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

/// Whether something that happens every so many steps of a run of `steps` does after this one.
bool due(std::int64_t step, const StepCount& every, std::int64_t steps) {
  const std::int64_t interval = every.interval(steps);
  return interval > 0 && step % interval == 0;
}

ModelShare model_share(const Grid& grid, const Config& config) {
  return {grid.tensor().rank(), grid.tensor().size(), config.parallel.sequence_parallel};
}

}  // namespace

Trainer::Trainer(const Config& config, Ops& ops, const TrainerOptions& options)
    : Trainer(config, ops, options,
              options.grid
                  ? nullptr
                  : std::make_unique<Grid>(std::make_unique<SelfCommunicator>("world", &ops), 1)) {}

Trainer::Trainer(const Config& config, Ops& ops, const TrainerOptions& options,
                 std::unique_ptr<Grid> own_grid)
    : ops_(ops),
      own_grid_(std::move(own_grid)),
      grid_(own_grid_ ? *own_grid_ : *options.grid),
      world_(grid_.world()),
      directory_(config.train.output, options.resume, world_, options.sft && config.lora.rank > 0),
      data_(config.data.train),
      tokenizer_(tokenizer_of(data_)),
      config_(resolved(config, data_, tokenizer_)),
      source_(make_source(options.sft)),
      weights_(ops.memory(), config_.model, "weights", type_of(config_.compute.dtype),
               model_share(grid_, config_), Buckets::multiple(grid_.data().size())),
      gradients_(ops.memory(), config_.model, "gradients", DType::f32, model_share(grid_, config_),
                 Buckets::multiple(grid_.data().size())),
      buckets_(gradients_.flat().count(), grid_.data().size(),
               grid_.data().size() > 1 ? options.bucket_bytes / size_of(DType::f32)
                                       : gradients_.flat().count()),
      parts_(buckets_.parts(grid_.data().rank())),
      data_parallel_(grid_.data(), buckets_, config_.parallel.zero_stage == 1),
      samples_(
          share_of_samples(config_.train.batch_size, grid_.data().rank(), grid_.data().size())),
      batch_((check_batch(), ops), config_, weights_, *source_, samples_, &grid_.tensor()),
      trace_(options.trace) {
  make_optimizer(options.sft);
  check_same_on_all_ranks(grid_.world(),
                          str("tokens = ", data_.tokens(), "\nids = ", data_.vocab_size(), "\n"),
                          "the data in data.train");
  if (!config_.data.validation.empty()) open_validation(options.sft);
  if (!config_.train.sample_every.is_zero()) {
    if (!tokenizer_)
      fail_usage(str("train.sample_every needs a tokenizer, and ", data_.path(), " has none"));
    // One copy of the model draws; the ranks of the others go on, and wait for it in the next step.
    if (grid_.data().rank() == 0)
      sample_text_.emplace(ops_, config_, weights_, *tokenizer_, &grid_.tensor());
  }
  take_weights();
  steps_ = last_step(config_.train, source_->samples_per_epoch(), state_);
  log_setup();
  ProductTuning tuning(ops_, grid_.world(), directory_.path() / "product_algorithms.txt");
  batch_.objective().prepare(gradients_);
  const double peak = options.matmul_peak > 0
                          ? options.matmul_peak
                          : reduced(grid_.world(), measure_matmul_peak(ops_, weights_.head.dtype));
  if (first_rank()) {
    directory_.open(config_);
    log_ = std::make_unique<RunLog>(config_, steps_, directory_.path(), state_.step, peak);
    validated_step_ = log_->last_validation();
  }
  tuning.save();
  validated_step_ = std::int64_t(reduced(grid_.world(), double(validated_step_), Reduce::max));
}

std::unique_ptr<BatchSource> Trainer::make_source(bool sft) {
  const auto seed = std::uint64_t(config_.train.seed);
  if (sft) {
    examples_.emplace(data_, config_.data.sequence_length, seed);
    return std::make_unique<ResponseSource>(config_, *examples_);
  }
  if (data_.has_responses() && first_rank())
    log_warning(data_.path() + ": was made for lacuna sft; here prompts are learnt like responses");
  loader_.emplace(data_, config_.data.sequence_length, seed);
  return std::make_unique<WindowSource>(config_, *loader_);
}

void Trainer::make_optimizer(bool sft) {
  if (!sft || config_.lora.rank == 0) {
    optimizer_.emplace(ops_, config_.optimizer, weights_, update_share());
    return;
  }
  lora_.emplace(ops_, config_, weights_);
}

void Trainer::open_validation(bool sft) {
  validation_data_.emplace(config_.data.validation);
  check_validation_data(config_, *validation_data_, data_);
  if (sft)
    response_validator_.emplace(config_, *validation_data_);
  else
    validator_.emplace(config_, *validation_data_, tokenizer_ ? &*tokenizer_ : nullptr);
}

void Trainer::check_batch() const {
  const int ranks = grid_.data().size();
  if (config_.train.batch_size < ranks)
    fail_usage(str("train.batch_size = ", config_.train.batch_size, " is too small for ", ranks,
                   " data parallel ranks; make it ", ranks, " or more"));
}

/// Gradients of norms are the same on all ranks that share a model: the first counts them.
UpdateShare Trainer::update_share() const {
  const FlatRange everything{0, weights_.flat().count()};
  UpdateShare share;
  share.updated = data_parallel_.sharded() ? parts_ : std::vector<FlatRange>{everything};
  share.counted = parts_;
  if (grid_.tensor().rank() > 0) {
    share.counted.clear();
    for (const WeightPiece& piece : pieces_within(weights_, parts_))
      if (const NamedWeight& w = weights_.named()[piece.weight]; !w.replicated())
        share.counted.push_back(
            {weights_.flat_index(w.tensor) + piece.first, piece.values.count()});
  }
  if (grid_.world().size() > 1) share.ranks = &grid_.world();
  return share;
}

Trainer::~Trainer() = default;

TrainResult Trainer::run(const std::function<bool()>& stop_requested) {
  const TrainConfig& train = config_.train;
  // A session that was stopped right after its last step left this to us.
  if (state_.step > 0 && due(state_.step, train.eval_every, steps_)) validate();
  bool stopping = false, to_save = false;
  while (state_.step < steps_) {
    const StepResult result = step();
    if (log_) log_->step(state_, result);
    check_bad_steps(result);
    const bool last = state_.step == steps_;
    stopping = stopping || (stop_requested && agreed(stop_requested()));
    to_save |= last || stopping || due(state_.step, train.checkpoint_every, steps_);
    if (!last && stopping && bad_in_a_row_ == 0) {
      save();
      return {state_.step, steps_, true, checkpoint_};
    }
    if (last || due(state_.step, train.eval_every, steps_)) validate();
    // After a bad step nothing is known to be better than what was saved before: it waits for a
    // good one, as a wish to stop does, or for the end of the run by max_bad_steps.
    if (to_save && bad_in_a_row_ == 0) {
      save();
      to_save = false;
    }
    if (sample_text_ && (last || due(state_.step, train.sample_every, steps_))) {
      const std::string text = sample_text_->draw();
      if (log_) log_->sample(state_.step, text);
    }
  }
  CHECK(bad_in_a_row_ == 0, "the loss or gradient was not finite in the last step, ", state_.step,
        bad_in_a_row_ > 1 ? str(", and ", bad_in_a_row_ - 1, " before it") : std::string(),
        ": no checkpoint was saved after it", advice_after_bad_steps());
  return {state_.step, steps_, false, checkpoint_};
}

bool Trainer::agreed(bool here) { return reduced(grid_.world(), here ? 1 : 0, Reduce::max) > 0; }

double Trainer::communication_seconds() const {
  return grid_.world().stats().waited_seconds + grid_.data().stats().waited_seconds +
         grid_.tensor().stats().waited_seconds;
}

double Trainer::gradient_norm() const {
  return lora_ ? lora_->gradient_norm() : optimizer_->gradient_norm();
}

/// Ranks that share a model have the same figures.
void Trainer::sum_over_ranks(BatchResult& batch) {
  double sums[] = {batch.loss, double(batch.tokens), batch.flops};
  grid_.data().all_reduce(Tensor(sums, Shape{3}), Reduce::sum);
  grid_.data().join();
  batch.loss = sums[0];
  batch.tokens = std::int64_t(sums[1]);
  batch.flops = sums[2];
}

StepResult Trainer::step() {
  const Stopwatch stopwatch;
  const double waited_before = communication_seconds();
  Trace trace;
  const auto observer = [&](const NoisyBatch& batch) { trace.add(batch); };
  ops_.fill(gradients_.flat(), 0);
  BatchResult batch = batch_.run(
      state_.step, state_.samples, gradients_, trace_.empty() ? BatchObserver() : observer,
      [&](const Tensor& lowest) { data_parallel_.gradients_complete(gradients_, lowest); });
  data_parallel_.finish(gradients_);
  sum_over_ranks(batch);
  StepResult result;
  result.loss = batch.loss;
  if (lora_)
    lora_->measure(gradients_);
  else
    optimizer_->measure(gradients_);
  result.learning_rate = scheduled_learning_rate(config_.optimizer, steps_, state_.step + 1);
  const double waited_in_passes = communication_seconds();
  const Stopwatch aside;
  if (!trace_.empty()) {
    trace.write(trace_, config_,
                {state_.step + 1, result.loss, gradient_norm(), gradients_, weights_,
                 lora_ ? &*lora_ : nullptr},
                {samples_.first, parts_}, world_, ops_);
    log_info(str("trace of step ", state_.step + 1, " written to ", trace_.string()));
    trace_.clear();
  }
  const double aside_seconds = batch.wait_seconds + aside.seconds();
  const double waited_aside = communication_seconds() - waited_in_passes;
  // A norm that is not finite is found on the device, which then updates nothing.
  const bool finite_loss = std::isfinite(result.loss);
  if (finite_loss && lora_) {
    lora_->update(result.learning_rate, state_.updates() + 1);
  } else if (finite_loss) {
    optimizer_->update(gradients_, result.learning_rate, state_.updates() + 1);
    data_parallel_.gather(weights_);
  }
  result.grad_norm = gradient_norm();
  result.skipped = !finite_loss || !std::isfinite(result.grad_norm);
  ++state_.step;
  state_.bad_steps += result.skipped;
  state_.samples += config_.train.batch_size;
  state_.tokens += batch.tokens;
  result.record = {.loss = batch.loss,
                   .tokens = batch.tokens,
                   .flops = batch.flops,
                   .seconds = stopwatch.seconds() - aside_seconds,
                   .data_seconds = batch.wait_seconds,
                   .communication_seconds = communication_seconds() - waited_before - waited_aside};
  return result;
}

void Trainer::check_bad_steps(const StepResult& result) {
  bad_in_a_row_ = result.skipped ? bad_in_a_row_ + 1 : 0;
  CHECK(bad_in_a_row_ < config_.train.max_bad_steps, "the loss or gradient was not finite in ",
        counted(bad_in_a_row_, "step"), " in a row, the last being step ", state_.step,
        " (train.max_bad_steps = ", config_.train.max_bad_steps, ")", advice_after_bad_steps());
}

std::string Trainer::advice_after_bad_steps() const {
  return "; try a lower optimizer.learning_rate or a longer optimizer.warmup_steps" +
         (checkpoint_.empty() ? "" : ", going on from " + checkpoint_.string());
}

void Trainer::validate() {
  if ((!validator_ && !response_validator_) || validated_step_ >= state_.step) return;
  ValidationResult result;
  if (validator_)
    result = validator_->run(batch_.objective(), grid_.data());
  else
    result.bound = response_validator_->run(batch_.objective(), grid_.data());
  if (log_) log_->validation(state_.step, result);
  validated_step_ = state_.step;
}

void Trainer::save() {
  if (saved_step_ == state_.step) return;
  const std::filesystem::path path = checkpoint_path(config_.train.output, state_.step);
  // Adapters before the checkpoint: one that is there can be resumed from.
  if (lora_ && first_rank()) lora_->save(adapter_path(path));
  save_training(path, state_, config_, data_.tokenizer_json(), imported_, weights_,
                optimizer_ ? &*optimizer_ : nullptr, parts_, world_, ops_);
  checkpoint_ = path;
  saved_step_ = state_.step;
  if (!first_rank()) return;
  prune_checkpoints(config_.train.output, config_.train.keep_checkpoints);
  if (lora_) prune_adapters(checkpoint_.parent_path());
}

void Trainer::take_weights() {
  const auto seed = std::uint64_t(config_.train.seed);
  if (directory_.checkpoint())
    resume_from(*directory_.checkpoint());
  else if (!config_.train.init.empty())
    initialise_from(config_.train.init);
  else if (lora_)
    initialise(weights_, config_.model, seed, ops_);
  else
    initialise(optimizer_->master().pieces(), weights_, config_.model, seed, ops_);
  if (lora_) {
    if (!directory_.checkpoint()) lora_->start(seed);
    return;
  }
  optimizer_->round_master();
  data_parallel_.gather(weights_);
}

void Trainer::resume_from(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint);
  const std::string name = checkpoint.string();
  const auto changes = changes_on_resume(config_of_checkpoint(reader), config_, name);
  if (!same_tokenizer(reader.info().tokenizer, data_.tokenizer_json()))
    fail_usage(str("data.train = ", data_.path(), " was made with another tokenizer than ", name));
  if (lora_) {  // the checkpoint holds the sum; adapters belong on what they were begun on
    initialise_from(config_.train.init);
    lora_->load(adapter_path(checkpoint));
    state_ = load_state(reader);
  } else {
    state_ = load_training(reader, weights_, *optimizer_, ops_);
  }
  imported_ = reader.info().extra;
  checkpoint_ = checkpoint;
  saved_step_ = state_.step;
  log_info(str("resuming from ", name, ", after step ", state_.step));
  for (const std::string& change : changes) log_info("changed since: " + change);
}

void Trainer::initialise_from(const std::string& init) {
  const std::string path =
      shared_text(grid_.world(), first_rank() ? resolve_checkpoint(init).string() : "");
  const std::unique_ptr<const ModelReader> opened = open_model(path);
  const ModelReader& reader = *opened;
  check_same_model(config_of_checkpoint(reader).model, config_.model, path);
  if (!same_tokenizer(reader.info().tokenizer, data_.tokenizer_json()) && first_rank())
    log_warning(str("the tokenizer of train.init = ", path, " is not that of ", data_.path(),
                    ": the same ids may mean other text"));
  // Of tensors of which each rank reads parts.
  if (world_.size() > 1) verify_checkpoint(path, world_);
  if (lora_)
    read_tensors(reader, "model", weights_, ops_);
  else
    read_pieces(reader, "model", weights_, optimizer_->master().pieces(), ops_);
  imported_ = reader.info().extra;
  log_info("weights from " + path);
}

void Trainer::log_setup() {
  log_info(str("model: ", counted(weights_.parameters(), "parameter"), "; data: ",
               counted(data_.tokens(), "token"), ", ", source_->description(), "; validation: ",
               validator_            ? counted(validator_->sequences(), "sequence")
               : response_validator_ ? counted(response_validator_->sequences(), "example")
                                     : "none"));
  if (const std::string epochs =
          epochs_summary(config_.train, source_->samples_per_epoch(), steps_);
      !epochs.empty())
    log_info(epochs);
  log_info(schedule_summary(config_.optimizer, steps_));
  if (const std::string cut = schedule_shortening(config_.optimizer, steps_);
      !cut.empty() && first_rank())
    log_warning(cut);
  if (lora_)
    log_info(str("LoRA rank ", config_.lora.rank, ": ", with_commas(lora_->parameters()),
                 " trainable parameters"));
  if (const int ranks = grid_.world().size(); ranks > 1)
    log_info(str(ranks, " ranks: ", grid_.data().size(), " data parallel, each with ",
                 grid_.tensor().size() > 1
                     ? str("a copy of the model on ", grid_.tensor().size(), " ranks")
                     : str("a copy of the model"),
                 data_parallel_.sharded() ? "; optimizer states are sharded" : ""));
  const std::int64_t owned = weights_.flat().bytes() + gradients_.flat().bytes() +
                             (lora_ ? lora_->bytes() : optimizer_->bytes());
  log_info(str(ops_.description(), "; memory: ", human_bytes(owned),
               " for weights, gradients and moments, ",
               human_bytes(batch_.objective().model().plan().bytes()), " for activations"));
  if (state_.step >= steps_)
    log_info(str("already at step ", state_.step, " of ", steps_, ": nothing to do"));
}

}  // namespace lacuna
