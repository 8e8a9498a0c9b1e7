#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/preference_pairs.h"
#include "diffusion/objective.h"
#include "diffusion/preference.h"
#include "training/figure.h"
#include "training/reference_model.h"

namespace lacuna {

/// A pair of training or validation.
struct NumberedPair {
  PreferencePair pair;
  std::int64_t number = 0;  // which names its masks
};

/// What passes over pairs found.
struct ScoredPairs {
  std::vector<ScoreBatch> batches;  // of the trained model; text 2i is pair i's chosen response
  std::vector<PairLikelihoods> likelihoods;  // of each pair
};

/// Sums over pairs that training and validation report.
struct PreferenceFigures {
  double dpo_loss = 0, reward_chosen = 0, reward_rejected = 0, reward_margin = 0,
         reward_accuracy = 0;

  /// `weight` of the pair in the means. A reward is beta (log p - log p of the reference model); a
  /// pair is accurate whose chosen response has the larger one.
  void add(const PairLikelihoods& pair, double beta, double weight);
  std::vector<Figure> figures() const;
};

/// Likelihoods of pairs under the model that is trained and the reference model, which it owns.
class PreferenceScorer {
 public:
  /// Borrows `config`. `reference`: the reference model's file; "": the trained model without its
  /// adapters.
  PreferenceScorer(const Config& config, std::string reference);
  /// As BatchSource::attach(): reads the reference model, if it is in a file.
  void attach(Ops& ops, const ModelWeights& model, const ModelLimits& limits,
              Communicator* tensor_parallel);

  /// Of as many tokens as `pairs` pairs may have, with all their masks, in micro-batches of
  /// train.micro_batch_size sequences.
  ModelLimits limits(std::int64_t pairs) const;
  /// By forward passes of `model` and of the reference model. `seed` of the masks; those of the
  /// reference model are the same ones unless dpo.shared_masks is false.
  ScoredPairs score(ObjectiveRunner& model, std::span<const NumberedPair> pairs,
                    std::uint64_t seed);
  /// For the log.
  std::string reference() const { return path_.empty() ? "the frozen weights" : path_; }

 private:
  const Config& config_;
  const std::string path_;
  std::optional<ReferenceModel> reference_;
};

}  // namespace lacuna
