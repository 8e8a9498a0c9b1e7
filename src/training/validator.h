#pragma once
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "diffusion/objective.h"

namespace lacuna {

struct ValidationResult {
  double bound = 0;                     // nats per token (diffusion/validation.h)
  std::optional<double> bits_per_byte;  // bound tokens / (bytes ln 2); needs the tokenizer
};

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
