#pragma once
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "decoding/decoder.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// The short texts in a run's log: train.sample_prompt and what the model makes of it, always from
/// the same noise, so that texts of different steps can be compared.
class SampleText {
 public:
  /// Borrows all. `shares` as in Model. UsageError when prompt and train.sample_length exceed
  /// model.max_seq_length.
  SampleText(Ops& ops, const Config& config, const ModelWeights& weights,
             const Tokenizer& tokenizer, Communicator* shares = nullptr);
  /// Bytes of what that allocates at most on a rank with that share of the model: what a tokenizer
  /// makes of the prompt has no more tokens than it has bytes.
  static std::int64_t most_bytes(const Config& config, DType dtype, Place place,
                                 TensorParallelShard share, const WeightScratch& weights = {});
  /// Up to the end token. All ranks of a tensor parallel group call it, and get the same.
  std::string draw();

 private:
  const Config& config_;
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> prompt_;
  DecodingOptions options_;
  std::unique_ptr<Decoder> decoder_;
};

}  // namespace lacuna
