#include "training/trainer.h"

#include <cmath>

#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "kernels/bench/peak.h"
#include "training/model_io.h"
#include "training/resume.h"
#include "training/schedule.h"
#include "training/trace.h"

namespace lacuna {
namespace {

std::optional<Tokenizer> tokenizer_of(const TokenFile& data) {
  if (data.tokenizer_json().empty()) return std::nullopt;
  return Tokenizer::from_json(data.tokenizer_json(), data.path() + ": its tokenizer");
}

DType type_of(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

bool due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

}  // namespace

Trainer::Trainer(const Config& config, Ops& ops, const TrainerOptions& options)
    : ops_(ops),
      directory_(config.train.output, options.resume),
      data_(config.data.train),
      tokenizer_(tokenizer_of(data_)),
      config_(resolve_model(config, data_, tokenizer_ ? tokenizer_->pad_token() : -1)),
      loader_(data_, config_.data.sequence_length, std::uint64_t(config_.train.seed)),
      weights_(ops.memory(), config_.model, "weights", type_of(config_.parallel.dtype)),
      gradients_(ops.memory(), config_.model, "gradients"),
      optimizer_(ops, config_.model, config_.optimizer, weights_),
      batch_(ops, config_, weights_, loader_),
      trace_(options.trace) {
  if (!config_.data.validation.empty()) {
    validation_data_.emplace(config_.data.validation);
    if (validation_data_->vocab_size() > config_.model.vocab_size)
      fail_usage(str("data.validation = ", config_.data.validation, " holds ids up to ",
                     validation_data_->vocab_size() - 1, ", but model.vocab_size is ",
                     config_.model.vocab_size));
    if (!same_tokenizer(validation_data_->tokenizer_json(), data_.tokenizer_json()))
      fail_usage(str("data.validation = ", config_.data.validation, " and data.train = ",
                     config_.data.train, " were made with different tokenizers"));
    validator_.emplace(config_, *validation_data_, tokenizer_ ? &*tokenizer_ : nullptr);
  }
  if (config_.train.sample_every > 0) {
    if (!tokenizer_)
      fail_usage(str("train.sample_every = ", config_.train.sample_every,
                     " needs a tokenizer, and ", data_.path(), " has none"));
    sample_text_.emplace(ops_, config_, weights_, *tokenizer_);
  }
  take_weights();
  log_setup();
  const double peak = options.matmul_peak > 0 ? options.matmul_peak
                                              : measure_matmul_peak(ops_, weights_.head.dtype);
  directory_.open(config_);
  log_ = std::make_unique<RunLog>(config_, directory_.path(), state_.step, peak);
}

Trainer::~Trainer() = default;

TrainResult Trainer::run(const std::function<bool()>& stop_requested) {
  const TrainConfig& train = config_.train;
  // A session that was stopped right after its last step left this to us.
  if (state_.step > 0 && due(state_.step, train.eval_every) &&
      log_->last_validation() < state_.step)
    validate();
  while (state_.step < train.steps) {
    const StepResult result = step();
    log_->step(state_, result);
    check_bad_steps(result);
    const bool last = state_.step == train.steps;
    if (!last && stop_requested && stop_requested()) {
      save();
      return {state_.step, true, checkpoint_};
    }
    if (last || due(state_.step, train.eval_every)) validate();
    if (last || due(state_.step, train.checkpoint_every)) save();
    if (sample_text_ && (last || due(state_.step, train.sample_every)))
      log_->sample(state_.step, sample_text_->draw());
  }
  return {state_.step, false, checkpoint_};
}

StepResult Trainer::step() {
  const Stopwatch stopwatch;
  Trace trace;
  const auto observer = [&](const NoisyBatch& batch) { trace.add(batch); };
  ops_.fill(gradients_.flat(), 0);
  const BatchResult batch = batch_.run(state_.step, state_.samples, gradients_,
                                       trace_.empty() ? BatchObserver() : observer);
  StepResult result;
  result.loss = batch.loss;
  result.grad_norm = optimizer_.gradient_norm(gradients_);
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  result.learning_rate =
      scheduled_learning_rate(config_.optimizer, config_.train.steps, state_.step + 1);
  const Stopwatch aside;
  if (!trace_.empty()) {
    trace.write(trace_, config_, state_.step + 1, result.loss, result.grad_norm, gradients_,
                weights_, ops_);
    log_info(str("step ", state_.step + 1, " is laid open in ", trace_.string()));
    trace_.clear();
  }
  const double aside_seconds = batch.wait_seconds + aside.seconds();
  if (!result.skipped) optimizer_.update(gradients_, result.learning_rate, state_.updates() + 1);
  ops_.synchronize();
  ++state_.step;
  state_.bad_steps += result.skipped;
  state_.samples += config_.train.batch_size;
  state_.tokens += batch.tokens;
  result.record = {batch.loss, batch.tokens, batch.flops, stopwatch.seconds() - aside_seconds};
  return result;
}

void Trainer::check_bad_steps(const StepResult& result) {
  bad_in_a_row_ = result.skipped ? bad_in_a_row_ + 1 : 0;
  CHECK(bad_in_a_row_ < config_.train.max_bad_steps, "the loss or gradient was not finite in ",
        bad_in_a_row_, " steps in a row, the last being step ", state_.step,
        " (train.max_bad_steps = ", config_.train.max_bad_steps,
        "); try a lower optimizer.learning_rate or a longer optimizer.warmup_steps",
        checkpoint_.empty() ? "" : ", going on from " + checkpoint_.string());
}

void Trainer::validate() {
  if (validator_ && log_->last_validation() < state_.step)
    log_->validation(state_.step, validator_->run(batch_.objective()));
}

void Trainer::save() {
  if (saved_step_ == state_.step) return;
  checkpoint_ = checkpoint_path(directory_.path(), state_.step);
  save_training(checkpoint_, state_, config_, data_.tokenizer_json(), imported_, weights_,
                optimizer_, ops_);
  saved_step_ = state_.step;
  prune_checkpoints(directory_.path(), config_.train.keep_checkpoints);
}

void Trainer::take_weights() {
  if (directory_.checkpoint()) return resume_from(*directory_.checkpoint());
  if (!config_.train.init.empty()) return initialise_from(config_.train.init);
  initialise(optimizer_.master(), config_.model, std::uint64_t(config_.train.seed), ops_);
  optimizer_.round_master();
}

void Trainer::resume_from(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint);
  const std::string name = checkpoint.string();
  const auto changes = changes_on_resume(config_of_checkpoint(reader), config_, name);
  if (!same_tokenizer(reader.info().tokenizer, data_.tokenizer_json()))
    fail_usage(str("data.train = ", data_.path(), " was made with another tokenizer than ", name));
  state_ = load_training(reader, optimizer_, ops_);
  imported_ = reader.info().extra;
  checkpoint_ = checkpoint;
  saved_step_ = state_.step;
  log_info(str("resuming from ", name, ", after step ", state_.step));
  for (const std::string& change : changes) log_info("changed since: " + change);
}

void Trainer::initialise_from(const std::string& init) {
  const std::string path = resolve_checkpoint(init).string();
  const CheckpointReader reader(path);
  check_same_model(config_of_checkpoint(reader).model, config_.model, path);
  if (!same_tokenizer(reader.info().tokenizer, data_.tokenizer_json()))
    log_warning(str("the tokenizer of train.init = ", path, " is not that of ", data_.path(),
                    ": the same ids may mean other text"));
  read_tensors(reader, "model", optimizer_.master(), ops_);
  optimizer_.round_master();
  imported_ = reader.info().extra;
  log_info("weights from " + path);
}

void Trainer::log_setup() {
  log_info(str("model: ", with_commas(weights_.parameters()), " parameters; data: ",
               with_commas(data_.tokens()), " tokens, ", with_commas(loader_.windows()),
               " sequences of ", loader_.sequence_length(), " per epoch; validation: ",
               validator_ ? with_commas(validator_->sequences()) + " sequences" : "none"));
  log_info(
      str(ops_.description(), "; memory: ",
          human_bytes(weights_.flat().bytes() + gradients_.flat().bytes() + optimizer_.bytes()),
          " for weights, gradients and moments, ",
          human_bytes(batch_.objective().model().plan().bytes()), " for activations"));
  if (state_.step >= config_.train.steps)
    log_info(str("already at step ", state_.step, " of train.steps = ", config_.train.steps,
                 ": nothing to do"));
}

}  // namespace lacuna
