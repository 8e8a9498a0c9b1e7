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

/// Sets of defaults: LLaDA's own, and the fast one.
enum class DecodingPreset : std::uint8_t { llada, fast };
template <>
struct EnumWords<DecodingPreset> {
  static constexpr const char* words[] = {"llada", "fast"};
};

/// Which of the rows that a pass predicted are committed (src/decoding/strategies).
enum class StrategyKind : std::uint8_t {
  automatic,  // fixed; of a block-causal model threshold
  fixed,
  threshold,
  dynamic,
  factor,
  entropy,
  margin,
  remdm,
  wino,
  edit,
};
template <>
struct EnumWords<StrategyKind> {
  static constexpr const char* words[] = {"auto",    "fixed",  "threshold", "dynamic", "factor",
                                          "entropy", "margin", "remdm",     "wino",    "edit"};
};

/// Which keys and values of earlier passes a pass reads instead of computing them again
/// (decoding/cached_rows.h).
enum class CacheKind : std::uint8_t {
  automatic,  // prefix where that is exact (causal and block-causal models), else none
  none,
  prefix,
  dual,
  vicinity,
};
template <>
struct EnumWords<CacheKind> {
  static constexpr const char* words[] = {"auto", "none", "prefix", "dual", "vicinity"};
};

/// How a text is generated; by default as LLaDA's generate() does it (github.com/ML-GSAI/LLaDA,
/// generate.py; arXiv:2502.09992, algorithms 4, 5). The one list: options of the command line
/// (--gen-length), keys of a task's [sampler] and the sample texts of training follow it.
struct DecodingOptions {
  std::int64_t gen_length = 128;
  std::int64_t steps = 0;         // 0: the default
  std::int64_t block_length = 0;  // 0: the default
  double temperature = 0;
  Remasking remasking = Remasking::low_confidence;
  double cfg_scale = 0;
  std::uint64_t seed = 1;
  DecodingPreset preset = DecodingPreset::llada;
  StrategyKind strategy = StrategyKind::automatic;
  double threshold = 0;  // 0: the strategy's default
  double factor = 1;
  double entropy_bound = 0.1;
  double revise_threshold = 0;  // 0: the strategy's default
  double remask_rate = 0.008;
  CacheKind cache = CacheKind::automatic;
  std::int64_t refresh_every = 0;  // 0: when a block begins
  std::int64_t vicinity = 16;
  bool stop_at_end = false;
  std::int64_t initial_length = 0;  // 0: gen_length

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
          "which tokens a step of strategy fixed fills: the most confident (low_confidence remains "
          "masked) or random ones");
    visit(c.cfg_scale, "cfg_scale",
          "classifier-free guidance by the prompt; 0: none, else twice the work");
    visit(c.seed, "seed", "of every random number");
    visit(c.preset, "preset",
          "defaults of the options below, for bidirectional models: llada (strategy fixed, no "
          "cache) or fast (threshold, dual cache, blocks of 32 tokens, stop_at_end)");
    visit(c.strategy, "strategy",
          "which tokens a pass commits: fixed (LLaDA's count per pass), threshold (confidence "
          "above it), dynamic (that, but at least fixed's count), factor (the more, the more "
          "confident they are), entropy (while the sum of entropies is within entropy_bound), "
          "margin (the best two tokens differ by threshold); or, taking some back, remdm, wino, "
          "edit; auto: fixed, or threshold for a block-causal model");
    visit(c.threshold, "threshold",
          "probability from 0 to 1; 0: the strategy's default (0.9; margin 0.5, wino 0.6, edit "
          "0.7)");
    visit(c.factor, "factor", "strategy factor: n tokens need confidence 1 - factor / (n + 1)");
    visit(c.entropy_bound, "entropy_bound", "strategy entropy: in nats");
    visit(c.revise_threshold, "revise_threshold",
          "wino: a committed token less probable than this is masked again; edit: it is replaced "
          "by another that is more probable than this; 0: the default (0.9; edit 0.5)");
    visit(c.remask_rate, "remask_rate",
          "remdm: share of the committed tokens that a pass masks again at most");
    visit(c.cache, "cache",
          "keys and values kept from earlier passes: none, prefix (of what precedes the block), "
          "dual (of everything else), vicinity (of what is not near the block); exact for causal "
          "and block-causal models, approximate for bidirectional ones; auto: where it is exact");
    visit(c.refresh_every, "refresh_every",
          "passes after which an approximate cache is computed anew; 0: only when a block begins");
    visit(c.vicinity, "vicinity", "cache vicinity: tokens on each side of the block");
    visit(c.stop_at_end, "stop_at_end",
          "end a text with the first block that holds an end token; block-causal models always do");
    visit(c.initial_length, "initial_length",
          "bidirectional models: tokens to begin with; the text grows to at most gen_length while "
          "the model expects it to go on (DAEDAL); 0: gen_length from the beginning");
  }

  std::int64_t tokens_per_block() const { return block_length ? block_length : gen_length; }
  std::int64_t blocks() const { return (gen_length + tokens_per_block() - 1) / tokens_per_block(); }
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

/// The options with what `model` makes of their defaults: no field is `automatic` or stands for a
/// default, but for `steps`. Throws UsageError for what validate() refuses and for a strategy or
/// cache that the model has no use for.
DecodingOptions resolved(const DecodingOptions& options, const ModelConfig& model,
                         const FieldNaming& named = plain_name);

}  // namespace lacuna
