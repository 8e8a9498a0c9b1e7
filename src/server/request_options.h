#pragma once
#include <utility>
#include <vector>

#include "server/api_error.h"
#include "server/api_request.h"

namespace lacuna {

/// The request's options: first with all of the server's defaults for what it does not say, then
/// with ever fewer of those that may contradict it. The last has none of these.
std::vector<DecodingOptions> candidate_options(const GenerationFields& fields);

/// Of an option that depends on others: where the request names the others, the server's default,
/// which was made for other ones, yields to DecodingOptions' own.
void forget_dependent_defaults(GenerationFields& fields, const DecodingOptions& defaults);

/// resolved(), with ApiError (400) that names the field at fault.
DecodingOptions resolved_fields(const DecodingOptions& options, const ModelConfig& config);

/// use() of the first of the candidates that it takes: a default of the server yields to what the
/// client says. The ApiError of the last, which names what the client said alone.
template <class Use>
auto use_options(const GenerationFields& fields, Use&& use) {
  const std::vector<DecodingOptions> candidates = candidate_options(fields);
  for (std::size_t i = 0; i + 1 < candidates.size(); ++i) try {
      return use(candidates[i]);
    } catch (const ApiError&) {
      continue;
    }
  return use(candidates.back());
}

}  // namespace lacuna
