#pragma once
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "diffusion/objective.h"
#include "diffusion/validation.h"
#include "training/figure.h"

namespace lacuna {

struct ValidationResult {
  double bound = 0;                     // nats per token (diffusion/validation.h)
  std::optional<double> bits_per_byte;  // bound tokens / (bytes ln 2); needs the tokenizer
  double standard_error = 0;            // of the bound, over sequences and masks
  /// ValidationDetail::loss_by_mask_probability(); empty of an autoregressive model.
  std::vector<double> loss_by_mask_probability;
  std::vector<Figure> figures = {};  // of some validators
};

/// Fills in what `detail`, of so many sequences divided among `ranks`, has beside the bound.
void add_detail(ValidationResult& result, ValidationDetail& detail, std::int64_t sequences,
                Objective objective, Communicator& ranks);

/// The validation of a run, on train.eval_samples samples of data.validation.
class Validator {
 public:
  virtual ~Validator() = default;

  /// `ranks` divide the samples among themselves; all get the result.
  virtual ValidationResult run(ObjectiveRunner& objective, Communicator& ranks) const = 0;
  /// The samples, for the log: "8 sequences".
  virtual std::string description() const = 0;
};

}  // namespace lacuna
