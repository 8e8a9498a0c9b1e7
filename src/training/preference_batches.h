#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "data/preference_pairs.h"
#include "data/token_file.h"
#include "training/batch_source.h"
#include "training/preference_scorer.h"

namespace lacuna {

/// Preference tuning's: pairs of responses, each with dpo.mask_samples masks, laid end to end. A
/// micro-batch takes as many masked responses as fit in micro_batch_size x sequence_length tokens,
/// the step's longest first; the masks of a pair may be in several.
///
/// The loss of a pair is -log sigmoid(beta margin), of likelihoods that are estimated from the
/// pair's masks (diffusion/preference.h). Its gradient is exact for these masks: forward passes
/// give the margin (weigh()), and the passes with gradients weigh the rows of the chosen response
/// by beta sigmoid(-beta margin), those of the rejected one by minus that. dpo.sft_weight adds the
/// chosen response's bound in nats per token, estimated from the same masks.
class PreferenceBatches final : public BatchSource {
 public:
  /// Borrows `config`. Error when the file cannot be used.
  PreferenceBatches(const Config& config, const TokenFile& file,
                    std::shared_ptr<PreferenceScorer> scorer);

  ModelLimits limits(std::int64_t count) const override { return scorer_->limits(count); }
  void attach(Ops& ops, const ModelWeights& model, const ModelLimits& limits,
              Communicator* tensor_parallel) override {
    scorer_->attach(ops, model, limits, tensor_parallel);
  }
  void begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) override;
  std::optional<double> weigh(ObjectiveRunner& model) override;
  std::vector<Figure> figures() const override { return figures_.figures(); }
  bool next(LossBatch& batch) override;
  bool has_whole_samples() const override { return false; }
  std::int64_t samples_per_epoch() const override { return pairs_.size(); }
  std::string description() const override;

 private:
  const Config& config_;
  const PreferencePairs pairs_;
  const std::shared_ptr<PreferenceScorer> scorer_;
  std::vector<NumberedPair> step_;
  std::vector<ScoreBatch> batches_;
  std::size_t done_ = 0;  // of them
  PreferenceFigures figures_;
};

}  // namespace lacuna
