#include "data/preference_pairs.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {

PreferencePairs::PreferencePairs(const TokenFile& file, std::int64_t max_length, std::uint64_t seed)
    : seed_(seed), texts_(file) {
  CHECK(file.has_pairs() && file.documents() % 2 == 0, file.path(),
        ": holds no pairs of responses of which one is preferred; make it with lacuna prepare "
        "--format preference");
  CHECK(max_length >= 2, "data.sequence_length is ", max_length,
        "; a prompt and a response need at least 2 tokens");
  const std::vector<ResponseTexts::Span>& spans = texts_.spans();
  for (std::size_t i = 0; i < spans.size(); i += 2) {
    const ResponseTexts::Span chosen = spans[i], rejected = spans[i + 1];
    const PromptedText a = texts_.text(chosen), b = texts_.text(rejected);
    CHECK(a.prompt == b.prompt &&
              std::equal(a.tokens.begin(), a.tokens.begin() + a.prompt, b.tokens.begin()),
          file.path(), ": documents ", i, " and ", i + 1,
          " are a pair of responses, but to different prompts");
    if (!ResponseTexts::fits(chosen, max_length) || !ResponseTexts::fits(rejected, max_length)) {
      ++left_out_;
      continue;
    }
    const std::int64_t longer = std::max(chosen.size(), rejected.size()),
                       cut = std::max<std::int64_t>(0, longer - max_length);
    cut_prompts_ += cut > 0;
    longest_ = std::max(longest_, longer - cut);
    pairs_.push_back({ResponseTexts::cut(chosen, chosen.size() - cut),
                      ResponseTexts::cut(rejected, rejected.size() - cut)});
  }
  CHECK(!pairs_.empty(), file.path(), ": each of its ", file.documents() / 2,
        " pairs has a response that is longer than data.sequence_length = ", max_length, " allows");
}

PreferencePair PreferencePairs::at(std::int64_t i) const {
  CHECK(i >= 0 && i < size(), "pair ", i, " of ", size());
  const Pair& pair = pairs_[std::size_t(i)];
  return {texts_.text(pair.chosen), texts_.text(pair.rejected)};
}

}  // namespace lacuna
