#include "decoding/generate.h"

#include "core/check.h"

namespace lacuna {

std::vector<DecodingResult> decode(Decoder& decoder, std::vector<DecodingRequest> requests,
                                   const DecodingObserver& observer) {
  CHECK(decoder.idle(), "decode() with requests in progress");
  std::vector<std::int64_t> ids;
  std::vector<DecodingResult> results(requests.size());
  const auto index_of = [&](std::int64_t id) { return id - ids.front(); };
  DecodingObserver numbered;
  if (observer)
    numbered = [&](const DecodingStep& step) {
      DecodingStep seen = step;
      seen.id = index_of(step.id);
      observer(seen);
    };
  try {
    for (DecodingRequest& request : requests) ids.push_back(decoder.add(std::move(request)));
    while (!decoder.idle()) decoder.step(numbered);
  } catch (...) {
    for (const std::int64_t id : ids) decoder.cancel(id);
    (void)decoder.collect();
    throw;
  }
  for (DecodingResult& result : decoder.collect()) {
    result.id = index_of(result.id);
    results[std::size_t(result.id)] = std::move(result);
  }
  return results;
}

std::vector<std::vector<std::int32_t>> generate(
    Decoder& decoder, const std::vector<std::vector<std::int32_t>>& prompts,
    const DecodingOptions& options, std::int64_t first_sample, const DecodingObserver& observer) {
  std::vector<DecodingRequest> requests;
  for (const std::vector<std::int32_t>& prompt : prompts)
    requests.push_back({.tokens = prompt,
                        .options = options,
                        .sample = first_sample + std::int64_t(requests.size())});
  std::vector<std::vector<std::int32_t>> texts;
  for (DecodingResult& result : decode(decoder, std::move(requests), observer))
    texts.push_back(std::move(result.tokens));
  return texts;
}

}  // namespace lacuna
