#include "server/request_options.h"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "core/check.h"

namespace lacuna {
namespace {

/// Options that contradict others, those first whose absence changes least.
constexpr const char* kContradicting[] = {"initial_length", "steps",     "block_length",
                                          "remasking",      "cache",     "strategy",
                                          "preset",         "gen_length"};

/// Gives `to` what `from` has in a field.
void copy_option(DecodingOptions& to, const DecodingOptions& from, const std::string& name) {
  DecodingOptions copy = from;
  DecodingOptions::fields(to, [&](auto& field, const std::string& at, const char*) {
    if (at != name) return;
    DecodingOptions::fields(copy, [&](auto& other, const std::string& there, const char*) {
      if constexpr (std::is_same_v<decltype(field), decltype(other)>)
        if (there == name) field = other;
    });
  });
}

DecodingOptions without(const DecodingOptions& options, const std::string& name) {
  DecodingOptions o = options;
  copy_option(o, DecodingOptions{}, name);
  return o;
}

}  // namespace

std::vector<DecodingOptions> candidate_options(const GenerationFields& fields) {
  std::vector<std::string> yielding;
  for (const char* name : kContradicting)
    if (!fields.given.contains(name) && without(fields.options, name) != fields.options)
      yielding.emplace_back(name);
  std::vector<unsigned> left_out(std::size_t{1} << yielding.size());
  for (unsigned set = 0; set < left_out.size(); ++set) left_out[set] = set;
  std::stable_sort(left_out.begin(), left_out.end(),
                   [](unsigned a, unsigned b) { return std::popcount(a) < std::popcount(b); });
  std::vector<DecodingOptions> candidates;
  for (const unsigned set : left_out) {
    DecodingOptions o = fields.options;
    for (std::size_t i = 0; i < yielding.size(); ++i)
      if (set >> i & 1u) o = without(o, yielding[i]);
    candidates.push_back(o);
  }
  return candidates;
}

DecodingOptions resolved_fields(const DecodingOptions& options, const ModelConfig& config) {
  try {
    return resolved(options, config);
  } catch (const Error& e) {
    throw error_of_field(e);
  }
}

void forget_dependent_defaults(GenerationFields& fields, const DecodingOptions& defaults) {
  const auto forget = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!fields.given.contains(name)) fields.options = without(fields.options, name);
  };
  const DecodingOptions& o = fields.options;
  if (o.preset != defaults.preset)
    forget({"strategy", "cache", "block_length", "stop_at_end", "threshold", "revise_threshold"});
  if (o.strategy != defaults.strategy)
    forget({"threshold", "factor", "entropy_bound", "revise_threshold", "remask_rate"});
}

}  // namespace lacuna
