#include "training/validator.h"

namespace lacuna {

void add_detail(ValidationResult& result, ValidationDetail& detail, std::int64_t sequences,
                Objective objective, Communicator& ranks) {
  detail.sum_over(ranks);
  if (objective == Objective::autoregressive) {
    result.standard_error = detail.standard_error({});
    return;
  }
  result.standard_error = detail.standard_error(validation_ratios(sequences));
  const auto losses = detail.loss_by_mask_probability();
  result.loss_by_mask_probability.assign(losses.begin(), losses.end());
}

}  // namespace lacuna
