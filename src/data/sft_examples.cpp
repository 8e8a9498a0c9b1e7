#include "data/sft_examples.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {

SftExamples::SftExamples(const TokenFile& file, std::int64_t max_length, std::uint64_t seed)
    : seed_(seed), tokens_(std::size_t(file.tokens())) {
  CHECK(file.has_responses(), file.path(),
        ": says of no token that it is a response; make it with lacuna prepare --format chat");
  CHECK(max_length >= 2, "data.sequence_length is ", max_length,
        "; a prompt and a response need at least 2 tokens");
  file.read(0, tokens_);
  std::vector<std::uint8_t> response(tokens_.size());
  file.read_responses(0, response);
  for (std::int64_t i = 0; i < file.documents(); ++i) {
    Span span{file.offset(i), 0, file.offset(i + 1)};
    const auto begin = response.begin() + span.begin, end = response.begin() + span.end;
    span.response = std::find(begin, end, 1) - response.begin();
    CHECK(
        span.response < span.end && std::find(begin + (span.response - span.begin), end, 0) == end,
        file.path(), ": document ", i, " is not a prompt followed by a response");
    const std::int64_t length = span.end - span.response;
    if (length + (span.response > span.begin) > max_length) {
      ++left_out_;
      continue;
    }
    if (span.end - span.begin > max_length) {
      ++cut_prompts_;
      span.begin = span.end - max_length;
    }
    longest_ = std::max(longest_, span.end - span.begin);
    response_tokens_ += length;
    spans_.push_back(span);
  }
  CHECK(!spans_.empty(), file.path(), ": each of its ", file.documents(),
        " responses is longer than data.sequence_length = ", max_length, " allows");
}

PromptedText SftExamples::at(std::int64_t i) const {
  CHECK(i >= 0 && i < size(), "example ", i, " of ", size());
  const Span& span = spans_[std::size_t(i)];
  return {{tokens_.begin() + span.begin, tokens_.begin() + span.end}, span.response - span.begin};
}

std::int64_t SftExamples::permuted(std::int64_t index) const {
  CHECK(index >= 0, "sample ", index);
  const CounterRng rng{seed_, Purpose::data_order, std::uint64_t(index / size())};
  return Permutation(size(), rng)(index % size());
}

}  // namespace lacuna
