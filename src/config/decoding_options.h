#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "config/config.h"

namespace lacuna {

enum class Remasking : std::uint8_t { low_confidence, random };
template <>
struct EnumWords<Remasking> {
  static constexpr const char* words[] = {"low_confidence", "random"};
};

/// How a text is generated: LLaDA's generate() (github.com/ML-GSAI/LLaDA, generate.py;
/// arXiv:2502.09992, algorithms 4, 5). The one list: options of the command line (--gen-length),
/// keys of a task's [sampler] and the sample texts of training follow it.
struct DecodingOptions {
  std::int64_t gen_length = 128;
  std::int64_t steps = 0;         // 0: the default
  std::int64_t block_length = 0;  // 0: the default
  double temperature = 0;
  Remasking remasking = Remasking::low_confidence;
  double cfg_scale = 0;
  std::uint64_t seed = 1;

  bool operator==(const DecodingOptions&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.gen_length, "gen_length", "tokens to generate");
    visit(c.steps, "steps",
          "forward passes, a multiple of the number of blocks; by default one per token");
    visit(c.block_length, "block_length",
          "tokens filled before those after them, a divisor of gen_length; by default all");
    visit(c.temperature, "temperature", "0: the likeliest token; more: Gumbel noise on the logits");
    visit(c.remasking, "remasking",
          "which tokens a step fills: the most confident (low_confidence remains masked) or random "
          "ones");
    visit(c.cfg_scale, "cfg_scale",
          "classifier-free guidance by the prompt; 0: none, else twice the work");
    visit(c.seed, "seed", "of every random number");
  }

  std::int64_t tokens_per_block() const { return block_length ? block_length : gen_length; }
  std::int64_t blocks() const { return gen_length / tokens_per_block(); }
  std::int64_t steps_per_block() const { return (steps ? steps : gen_length) / blocks(); }
};

/// What a message calls a field: "gen_length" itself, "--gen-length", "sampler.gen_length".
using FieldNaming = std::function<std::string(const std::string& field)>;
std::string plain_name(const std::string& field);

/// Each field by itself. Throws UsageError with the field's name, its value and what would be
/// right.
void validate_values(const DecodingOptions& options, const FieldNaming& named = plain_name);
/// That, and whether steps and blocks divide the tokens to generate.
void validate(const DecodingOptions& options, const FieldNaming& named = plain_name);

}  // namespace lacuna
