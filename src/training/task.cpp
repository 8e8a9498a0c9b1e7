#include "training/task.h"

#include <utility>

#include "checkpoint/checkpoint.h"
#include "core/log.h"
#include "training/preference_batches.h"
#include "training/preference_validator.h"
#include "training/pretrain_batches.h"
#include "training/pretrain_validator.h"
#include "training/rank_process_group.h"
#include "training/resume.h"
#include "training/sft_batches.h"
#include "training/sft_validator.h"

namespace lacuna {
namespace {

TokenFile open_validation(const TrainingData& data) {
  TokenFile file(data.config.data.validation, data.config.model.vocab_size);
  check_validation_data(data.config, file, data.file);
  return file;
}

/// The file of dpo.reference or train.init, the same on all ranks; "" where the reference model is
/// what adapters are trained beside. Of several ranks each reads parts of the file, so that its
/// checksums are compared here.
std::string reference_of(const Config& config, Communicator& world) {
  if (config.dpo.reference.empty() && config.lora.rank > 0) return "";
  const std::string& named =
      config.dpo.reference.empty() ? config.train.init : config.dpo.reference;
  std::string path =
      shared_text(world, world.rank() == 0 ? resolve_checkpoint(named).string() : "");
  RankProcessGroup team(world);
  if (world.size() > 1) verify_checkpoint(path, team);
  return path;
}

}  // namespace

Task::Task(const Config& config, std::unique_ptr<BatchSource> source,
           std::unique_ptr<const Validator> validator)
    : config_(config), source_(std::move(source)), validator_(std::move(validator)) {}

ObjectiveRunner Task::objective(Ops& ops, const ModelWeights& weights, std::int64_t samples,
                                Communicator* tensor_parallel) const {
  const ModelLimits limits = source_->limits(samples);
  source_->attach(ops, weights, limits, tensor_parallel);
  return {ops, config_.model, weights, limits, tensor_parallel};
}

Task pretrain_task(const TrainingData& data, Communicator& world) {
  const Config& config = data.config;
  if (data.file.has_responses() && world.rank() == 0)
    log_warning(data.file.path() +
                ": was made for lacuna sft; here prompts are learned like responses");
  auto source = std::make_unique<PretrainBatches>(config, data.files);
  std::unique_ptr<const Validator> validator;
  if (!config.data.validation.empty())
    validator = std::make_unique<PretrainValidator>(config, open_validation(data),
                                                    data.tokenizer ? &*data.tokenizer : nullptr);
  return {config, std::move(source), std::move(validator)};
}

Task sft_task(const TrainingData& data, Communicator&) {
  const Config& config = data.config;
  check_one_source(config.data);
  auto source = std::make_unique<SftBatches>(config, data.file);
  std::unique_ptr<const Validator> validator;
  if (!config.data.validation.empty())
    validator = std::make_unique<SftValidator>(config, open_validation(data));
  return {config, std::move(source), std::move(validator)};
}

Task dpo_task(const TrainingData& data, Communicator& world) {
  const Config& config = data.config;
  check_one_source(config.data);
  const auto scorer = std::make_shared<PreferenceScorer>(config, reference_of(config, world));
  auto source = std::make_unique<PreferenceBatches>(config, data.file, scorer);
  std::unique_ptr<const Validator> validator;
  if (!config.data.validation.empty())
    validator = std::make_unique<PreferenceValidator>(config, open_validation(data), scorer);
  return {config, std::move(source), std::move(validator)};
}

}  // namespace lacuna
