#pragma once
#include <vector>

#include "data/sft_examples.h"
#include "data/token_file.h"
#include "diffusion/responses.h"
#include "training/batch_source.h"

namespace lacuna {

/// Fine-tuning's: prompts with responses, of any lengths, laid end to end. A micro-batch takes as
/// many as fit in micro_batch_size x sequence_length tokens, the step's longest first, so that
/// nothing is computed that is not in the loss or seen by what is.
///
/// sft.pad_loss = "eos": end tokens follow each response up to the length of the longest example of
/// its group, sft.pad_group consecutive samples of the order of training, as LLaDA pads its
/// mini-batches (arXiv:2502.09992, 2.3); they teach the model to end within a canvas. The groups
/// depend on the order alone. In block diffusion the length is rounded up to whole blocks, as they
/// are when a response is generated. "none", and the autoregressive objective: no padding.
class SftBatches final : public BatchSource {
 public:
  /// Borrows `config`. Error when the file cannot be used.
  SftBatches(const Config& config, const TokenFile& file);

  ModelLimits limits(std::int64_t count) const override { return limits(config_, count); }
  /// The same of a config.
  static ModelLimits limits(const Config& config, std::int64_t count);
  void begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) override;
  bool next(LossBatch& batch) override;
  std::int64_t samples_per_epoch() const override { return examples_.size(); }
  std::string description() const override;

 private:
  std::int64_t padding(std::int64_t sample) const;
  /// Tokens of a micro-batch when `count` examples are asked for.
  static std::int64_t room(const Config& config, std::int64_t count);

  const Config& config_;
  NoiseOptions noise_;  // of this step
  const SftExamples examples_;
  std::vector<ResponseExample> step_;  // longest first
  std::size_t done_ = 0;
  std::int64_t room_ = 0;  // tokens of a micro-batch
};

}  // namespace lacuna
