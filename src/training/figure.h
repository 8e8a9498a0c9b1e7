#pragma once
#include <string>

namespace lacuna {

/// A number of a step or a validation, under the name that metrics.jsonl and TensorBoard give it.
struct Figure {
  std::string name;
  double value = 0;
};

}  // namespace lacuna
