#include "evaluation/decoded_records.h"

namespace lacuna {

void DecodedRecords::begin(std::size_t record) {
  Question question = ask_(record);
  const DecodingRequest& request = question.request;
  const std::int64_t tokens =
      std::int64_t(request.tokens.size()) + (request.infill ? 0 : request.options.gen_length);
  const std::int64_t id = decoder_.add(std::move(question.request));
  under_way_.emplace(id, UnderWay{record, tokens, std::move(question.outcome)});
  used_ += tokens;
}

RecordEvaluation::Done DecodedRecords::work() {
  Done done;
  while (done.empty()) {
    decoder_.step();
    for (const DecodingResult& result : decoder_.collect()) {
      const auto found = under_way_.find(result.id);
      done.emplace_back(found->second.record, found->second.outcome(result.tokens));
      used_ -= found->second.tokens;
      under_way_.erase(found);
    }
  }
  return done;
}

}  // namespace lacuna
