#pragma once
#include <string>

#include "core/tensor.h"

namespace lacuna {

/// A tensor and its name in a file.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

}  // namespace lacuna
