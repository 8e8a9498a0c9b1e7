#pragma once
#include <vector>

#include "data/loader.h"
#include "data/token_file.h"
#include "training/batch_source.h"

namespace lacuna {

/// Pretraining's: windows of data.sequence_length tokens, cut to a random length in some steps.
class PretrainBatches final : public BatchSource {
 public:
  /// Borrows both. Error when the file cannot be used.
  PretrainBatches(const Config& config, const TokenFile& file);

  ModelLimits limits(std::int64_t count) const override { return limits(config_, count); }
  static ModelLimits limits(const Config& config, std::int64_t count);
  void begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) override;
  bool next(LossBatch& batch) override;
  std::int64_t samples_per_epoch() const override { return loader_.windows(); }
  std::string description() const override;

 private:
  const Config& config_;
  NoiseOptions noise_;  // of this step
  Loader loader_;
  std::vector<std::int32_t> tokens_;                // a micro-batch
  std::int64_t length_ = 0, sample_ = 0, end_ = 0;  // of this step
};

}  // namespace lacuna
