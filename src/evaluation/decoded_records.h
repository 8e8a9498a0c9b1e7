#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "decoding/decoder.h"
#include "evaluation/distribute_records.h"

namespace lacuna {

/// Records whose outcome is a generated text: as many at once as fit in a pass of the decoder,
/// where one that is done makes room for the next.
class DecodedRecords final : public RecordEvaluation {
 public:
  /// What a record asks for, and what becomes of the answer.
  struct Question {
    DecodingRequest request;
    std::function<EvalOutcome(const std::vector<std::int32_t>& tokens)> outcome;
  };

  /// Borrows the decoder, whose limit is `tokens`.
  DecodedRecords(Decoder& decoder, std::int64_t tokens,
                 std::function<Question(std::size_t record)> ask)
      : decoder_(decoder), tokens_(tokens), ask_(std::move(ask)) {}

  bool has_room() const override { return under_way_.empty() || used_ < tokens_; }
  void begin(std::size_t record) override;
  bool idle() const override { return under_way_.empty(); }
  Done work() override;

 private:
  struct UnderWay {
    std::size_t record;
    std::int64_t tokens;
    std::function<EvalOutcome(const std::vector<std::int32_t>&)> outcome;
  };

  Decoder& decoder_;
  const std::int64_t tokens_;
  const std::function<Question(std::size_t record)> ask_;
  std::map<std::int64_t, UnderWay> under_way_;  // by the ids of their requests
  std::int64_t used_ = 0;                       // tokens of those, prompts included
};

}  // namespace lacuna
