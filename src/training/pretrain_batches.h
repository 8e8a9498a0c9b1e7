#pragma once
#include <span>
#include <vector>

#include "data/source_loader.h"
#include "training/batch_source.h"

namespace lacuna {

/// Pretraining's: windows of data.sequence_length tokens, cut to a random length in some steps.
class PretrainBatches final : public BatchSource {
 public:
  /// Borrows both: `files` as of SourceLoader. Error when a file cannot be used.
  PretrainBatches(const Config& config, std::span<const TokenFile> files);

  ModelLimits limits(std::int64_t count) const override { return limits(config_, count); }
  static ModelLimits limits(const Config& config, std::int64_t count);
  void begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) override;
  bool next(LossBatch& batch) override;
  std::int64_t samples_per_epoch() const override { return loader_.windows(); }
  std::string description() const override;
  std::vector<SourceLoader::Use> sources(std::int64_t samples) const override {
    return loader_.use_of(samples);
  }

 private:
  const Config& config_;
  NoiseOptions noise_;  // of this step
  SourceLoader loader_;
  std::vector<std::int32_t> tokens_;                // a micro-batch
  std::vector<RowDocuments> documents_;             // of it, where they are separate
  std::int64_t length_ = 0, sample_ = 0, end_ = 0;  // of this step
};

}  // namespace lacuna
