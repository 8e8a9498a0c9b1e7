#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "comm/communicator.h"
#include "decoding/decoder.h"

namespace lacuna {

/// Generates `samples` texts of one request, with the noise of samples 0, 1, …, at most `at_once`
/// in one pass of a decoder; one that is done makes room for the next. The ranks of `data`, each
/// with a decoder of its own, do them in turn. `print` gets all texts in order, on every rank:
/// those of one rank as soon as possible, those of several in rounds. A result's id is the number
/// of its sample.
void decode_samples(Decoder& decoder, const DecodingRequest& request, std::int64_t samples,
                    std::int64_t at_once, Communicator& data,
                    const std::function<void(const DecodingResult&)>& print);

/// The options, a line each: what ranks must agree in.
std::string text_of(const DecodingOptions& options);

}  // namespace lacuna
