#include "kernels/adamw_constants.h"

#include <cmath>

#include "kernels/ops.h"

namespace lacuna {

AdamWConstants adamw_constants(const AdamWParameters& p) {
  return {.gradient_scale = 1,
          .beta1 = float(p.beta1),
          .beta2 = float(p.beta2),
          .one_minus_beta1 = float(1 - p.beta1),
          .one_minus_beta2 = float(1 - p.beta2),
          .step_size = float(p.learning_rate / (1 - std::pow(p.beta1, double(p.step)))),
          .inverse_root = float(1 / std::sqrt(1 - std::pow(p.beta2, double(p.step)))),
          .eps = float(p.eps),
          .kept = float(1 - p.learning_rate * p.weight_decay)};
}

}  // namespace lacuna
