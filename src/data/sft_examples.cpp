#include "data/sft_examples.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {

SftExamples::SftExamples(const TokenFile& file, std::int64_t max_length, std::uint64_t seed)
    : seed_(seed), texts_(file) {
  CHECK(!file.has_pairs(), file.path(),
        ": holds pairs of responses of which one is preferred, for lacuna dpo; fine-tuning needs "
        "examples, of lacuna prepare --format chat");
  CHECK(max_length >= 2, "data.sequence_length is ", max_length,
        "; a prompt and a response need at least 2 tokens");
  for (const ResponseTexts::Span& span : texts_.spans()) {
    if (!ResponseTexts::fits(span, max_length)) {
      ++left_out_;
      continue;
    }
    cut_prompts_ += span.size() > max_length;
    spans_.push_back(ResponseTexts::cut(span, max_length));
    longest_ = std::max(longest_, spans_.back().size());
    response_tokens_ += span.response_size();
  }
  CHECK(!spans_.empty(), file.path(), ": each of its ", file.documents(),
        " responses is longer than data.sequence_length = ", max_length, " allows");
}

PromptedText SftExamples::at(std::int64_t i) const {
  CHECK(i >= 0 && i < size(), "example ", i, " of ", size());
  return texts_.text(spans_[std::size_t(i)]);
}

}  // namespace lacuna
