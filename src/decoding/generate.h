#pragma once
#include <cstdint>
#include <vector>

#include "decoding/decoder.h"

namespace lacuna {

/// Runs requests on an idle decoder until all are done; results in their order. `observer` gets the
/// index of a request as its id. What step() and add() throw leaves the decoder idle.
std::vector<DecodingResult> decode(Decoder& decoder, std::vector<DecodingRequest> requests,
                                   const DecodingObserver& observer = {});
/// The tokens of that for prompts with the same options; the noise of prompt i is that of sample
/// first_sample + i.
std::vector<std::vector<std::int32_t>> generate(
    Decoder& decoder, const std::vector<std::vector<std::int32_t>>& prompts,
    const DecodingOptions& options, std::int64_t first_sample = 0,
    const DecodingObserver& observer = {});

}  // namespace lacuna
