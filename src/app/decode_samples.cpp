#include "app/decode_samples.h"

#include <algorithm>
#include <array>
#include <map>
#include <type_traits>
#include <vector>

#include "core/packed_bytes.h"

namespace lacuna {
namespace {

// Texts of each rank in a round, as a multiple of those in one pass: ranks wait for each other at
// the end of a round.
constexpr std::int64_t kPassesPerRound = 8;

/// `count` samples: first, first + stride, …
struct Samples {
  std::int64_t first, count, stride;
};

void decode_own(Decoder& decoder, const DecodingRequest& request, Samples samples,
                std::int64_t at_once, const std::function<void(const DecodingResult&)>& print) {
  std::map<std::int64_t, DecodingResult> waiting;  // for those before them
  std::int64_t added = 0, printed = 0, first_id = 0;
  while (printed < samples.count) {
    for (; added < samples.count && added - printed < 2 * at_once; ++added) {
      DecodingRequest next = request;
      next.sample = samples.first + added * samples.stride;
      const std::int64_t id = decoder.add(std::move(next));
      if (added == 0) first_id = id;
    }
    decoder.step();
    for (DecodingResult& result : decoder.collect()) {
      const std::int64_t place = result.id - first_id;
      result.id = samples.first + place * samples.stride;
      waiting.emplace(place, std::move(result));
    }
    for (auto first = waiting.find(printed); first != waiting.end();
         first = waiting.find(printed)) {
      print(first->second);
      waiting.erase(first);
      ++printed;
    }
  }
}

void pack_result(std::string& to, const DecodingResult& result) {
  pack(to, result.id);
  pack(to, std::span(result.tokens));
  pack(to, std::span(result.committed_at));
  pack(to, std::span(result.probability));
}

DecodingResult unpack(PackedReader& from) {
  DecodingResult result{};
  result.id = from.number();
  result.tokens = from.array<std::int32_t>();
  result.committed_at = from.array<std::int32_t>();
  result.probability = from.array<float>();
  return result;
}

/// What all ranks packed, in the order of the samples [first, first + count).
std::vector<DecodingResult> gathered(Communicator& data, const std::string& own, std::int64_t first,
                                     std::int64_t count) {
  std::vector<DecodingResult> results(static_cast<std::size_t>(count));
  for (std::string& bytes : gathered_texts(data, own)) {
    PackedReader reader(std::move(bytes));
    while (!reader.at_end()) {
      DecodingResult result = unpack(reader);
      results[std::size_t(result.id - first)] = std::move(result);
    }
  }
  return results;
}

}  // namespace

void decode_samples(Decoder& decoder, const DecodingRequest& request, std::int64_t samples,
                    std::int64_t at_once, Communicator& data,
                    const std::function<void(const DecodingResult&)>& print) {
  const std::int64_t ranks = data.size(), rank = data.rank();
  if (ranks == 1) return decode_own(decoder, request, {0, samples, 1}, at_once, print);
  const std::int64_t round = ranks * at_once * kPassesPerRound;
  for (std::int64_t first = 0; first < samples; first += round) {
    const std::int64_t count = std::min(round, samples - first);
    const Samples own{first + rank, (count - rank + ranks - 1) / ranks, ranks};
    std::string packed;
    decode_own(decoder, request, own, at_once,
               [&](const DecodingResult& result) { pack_result(packed, result); });
    for (const DecodingResult& result : gathered(data, packed, first, count)) print(result);
  }
}

std::string text_of(const DecodingOptions& options) {
  std::string text;
  DecodingOptions::fields(options, [&](const auto& value, const char* name, const char*) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>)
      text += str(name, " = ", word_of(value), "\n");
    else
      text += str(name, " = ", value, "\n");
  });
  return text;
}

}  // namespace lacuna
