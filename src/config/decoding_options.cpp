#include "config/decoding_options.h"

#include <cmath>

#include "core/check.h"

namespace lacuna {

std::string plain_name(const std::string& field) { return field; }

void validate_values(const DecodingOptions& o, const FieldNaming& named) {
  const auto at_least = [&](const char* field, std::int64_t value, std::int64_t least) {
    if (value < least) fail_usage(str(named(field), " is ", value, "; it must be at least 1"));
  };
  const auto not_negative = [&](const char* field, double value) {
    if (!(value >= 0) || !std::isfinite(value))
      fail_usage(str(named(field), " is ", value, "; it must be 0 or more"));
  };
  at_least("gen_length", o.gen_length, 1);
  at_least("block_length", o.block_length, 0);  // which stands for a default
  at_least("steps", o.steps, 0);
  not_negative("temperature", o.temperature);
  not_negative("cfg_scale", o.cfg_scale);
}

void validate(const DecodingOptions& o, const FieldNaming& named) {
  validate_values(o, named);
  const std::int64_t block_length = o.tokens_per_block();
  if (o.gen_length % block_length != 0)
    fail_usage(str(named("block_length"), " ", block_length, " does not divide ",
                   named("gen_length"), " ", o.gen_length));
  if (o.steps % o.blocks() != 0)
    fail_usage(str(named("steps"), " ", o.steps, " cannot be shared evenly by ", o.blocks(),
                   " blocks (", named("gen_length"), " ", o.gen_length, " / ",
                   named("block_length"), " ", block_length, "); it must be a multiple of ",
                   o.blocks()));
}

}  // namespace lacuna
