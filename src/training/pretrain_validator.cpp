#include "training/pretrain_validator.h"

#include <numbers>
#include <utility>
#include <vector>

#include "core/text.h"
#include "training/gradient_accumulator.h"

namespace lacuna {

PretrainValidator::PretrainValidator(const Config& config, TokenFile file,
                                     const Tokenizer* tokenizer)
    : config_(config),
      file_(std::move(file)),
      loader_(file_, config.data.sequence_length, /*seed=*/0, config.data.documents) {
  const std::int64_t wanted = config.train.eval_samples;
  set_.sequences = loader_.validation_windows(wanted);
  set_.length = config.data.sequence_length;
  set_.read = [this, wanted](std::int64_t first, std::int64_t count, Tensor tokens) {
    loader_.validation_batch(first, count, wanted, tokens);
  };
  if (config.data.documents == Documents::separate)
    set_.documents = [this, wanted](std::int64_t first, std::int64_t count) {
      return loader_.validation_documents(first, count, wanted);
    };
  if (!tokenizer) return;
  std::vector<std::int32_t> window(std::size_t(set_.length));
  for (std::int64_t i = 0; i < set_.sequences; ++i) {
    const std::int64_t length = set_.documents ? set_.documents(i, 1).front().length : set_.length;
    tokens_ += length;
    set_.read(i, 1, Tensor(window.data(), {1, set_.length}));
    bytes_ += std::int64_t(tokenizer->decode(std::span(window).first(std::size_t(length))).size());
  }
}

ValidationResult PretrainValidator::run(ObjectiveRunner& objective, Communicator& ranks) const {
  ValidationResult result;
  const SampleRange share = share_of_samples(set_.sequences, ranks.rank(), ranks.size());
  ValidationDetail detail(set_.sequences);
  const double bound = uneven_passes(objective.model().gatherer(), [&] {
    return validation_share(objective, validation_noise(config_), set_,
                            validation_tokens(config_, objective.limits()) / set_.length,
                            share.first, share.count, &detail);
  });
  result.bound = reduced(ranks, bound);
  add_detail(result, detail, set_.sequences, config_.train.objective, ranks);
  if (bytes_ > 0)
    result.bits_per_byte = result.bound * double(tokens_) / (double(bytes_) * std::numbers::ln2);
  return result;
}

std::string PretrainValidator::description() const { return counted(set_.sequences, "sequence"); }

}  // namespace lacuna
