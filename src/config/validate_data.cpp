#include "config/validate_data.h"

#include <cmath>

#include "config/words.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

void check_weights(const std::vector<double>& weights, const std::string& where) {
  bool any = false;
  for (const double weight : weights) {
    if (!(weight >= 0 && std::isfinite(weight)))
      fail_usage(
          str(where, " has a weight of ", toml_value(weight), "; it must be a number, 0 or more"));
    any |= weight > 0;
  }
  if (!any) fail_usage(where + " gives every source a weight of 0");
}

}  // namespace

void validate_sources(const DataConfig& c) {
  if (c.sources.empty()) {
    if (!c.stages.empty()) fail_usage("data.stages needs data.sources, whose weights it changes");
    return;
  }
  if (!c.train.empty() && c.train != DataConfig::kDefaultTrain)
    fail_usage(str("data.train = ", toml_value(c.train),
                   " and data.sources are both given; leave one of them out"));
  std::vector<double> weights;
  for (std::size_t i = 0; i < c.sources.size(); ++i) {
    const DataSource& source = c.sources[i];
    const std::string where = str("data.sources[", i, "]");
    if (source.path.empty()) fail_usage(where + " has no path");
    for (std::size_t j = 0; j < i; ++j)
      if (c.sources[j].path == source.path)
        fail_usage(str(where, " and data.sources[", j, "] are the same, ", source.path,
                       "; name it once, with the sum of the weights"));
    if (!(source.max_epochs >= 0 && std::isfinite(source.max_epochs)))
      fail_usage(str(where, ".max_epochs = ", toml_value(source.max_epochs),
                     " must be a number, 0 or more"));
    weights.push_back(source.weight);
  }
  check_weights(weights, "data.sources");
  std::int64_t after = 0;
  for (std::size_t i = 0; i < c.stages.size(); ++i) {
    const DataStage& stage = c.stages[i];
    const std::string where = str("data.stages[", i, "]");
    if (stage.from_step <= after)
      fail_usage(str(where, ".from_step = ", stage.from_step, " must be above ", after,
                     i == 0 ? "" : ", that of the stage before it"));
    if (stage.weights.size() != c.sources.size())
      fail_usage(str(where, ".weights has ", counted(std::int64_t(stage.weights.size()), "weight"),
                     " for ", counted(std::int64_t(c.sources.size()), "source")));
    check_weights(stage.weights, where);
    after = stage.from_step;
  }
}

}  // namespace lacuna
