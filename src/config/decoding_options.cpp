#include "config/decoding_options.h"

#include <cmath>

#include "config/words.h"
#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::int64_t kFastBlock = 32;

double default_threshold(StrategyKind strategy) {
  switch (strategy) {
    case StrategyKind::margin:
      return 0.5;
    case StrategyKind::wino:
      return 0.6;
    case StrategyKind::edit:
      return 0.7;
    default:
      return 0.9;
  }
}

void resolve_causal(DecodingOptions& o, const FieldNaming& named) {
  if (o.strategy != StrategyKind::automatic && o.strategy != StrategyKind::fixed)
    fail_usage(str(named("strategy"), " ", word_of(o.strategy),
                   ": the model is autoregressive and commits the next token; strategies are for "
                   "diffusion models"));
  o.strategy = StrategyKind::fixed;
}

void resolve_exact_cache(DecodingOptions& o, const FieldNaming& named) {
  if (o.cache == CacheKind::dual || o.cache == CacheKind::vicinity)
    fail_usage(str(named("cache"), " ", word_of(o.cache),
                   ": approximates what tokens after the block would change; the model's attention "
                   "does not see them, and its cache (prefix) is exact"));
  if (o.cache == CacheKind::automatic) o.cache = CacheKind::prefix;
}

void resolve_block_causal(DecodingOptions& o, const ModelConfig& model, const FieldNaming& named) {
  if (o.block_length != 0 && o.block_length != model.block_size)
    fail_usage(str(named("block_length"), " is ", o.block_length,
                   "; the model generates blocks of model.block_size ", model.block_size));
  o.block_length = model.block_size;
  if (o.strategy == StrategyKind::automatic) o.strategy = StrategyKind::threshold;
  o.stop_at_end = true;
}

bool keeps_what_it_commits(StrategyKind strategy) {
  return strategy == StrategyKind::threshold || strategy == StrategyKind::factor ||
         strategy == StrategyKind::entropy || strategy == StrategyKind::margin;
}

void resolve_growth(DecodingOptions& o, const ModelConfig& model, const FieldNaming& named) {
  if (model.eos_token < 0)
    fail_usage(str(named("initial_length"), " is ", o.initial_length,
                   ": a text grows until the model expects its end; this model has no end token"));
  if (o.strategy == StrategyKind::automatic) o.strategy = StrategyKind::threshold;
  if (!keeps_what_it_commits(o.strategy))
    fail_usage(str(named("initial_length"), " is ", o.initial_length, "; strategy ",
                   word_of(o.strategy),
                   " needs to know the length: threshold, factor, entropy and margin do not"));
  if (o.block_length == 0) o.block_length = kFastBlock;
  o.stop_at_end = true;
}

void resolve_bidirectional(DecodingOptions& o, const ModelConfig& model, const FieldNaming& named) {
  if (o.initial_length > 0) resolve_growth(o, model, named);
  if (o.preset == DecodingPreset::fast) {
    if (o.strategy == StrategyKind::automatic) o.strategy = StrategyKind::threshold;
    if (o.cache == CacheKind::automatic) o.cache = CacheKind::dual;
    if (o.block_length == 0 && o.gen_length % kFastBlock == 0) o.block_length = kFastBlock;
    o.stop_at_end = true;
  }
  validate(o, named);
  if (o.strategy == StrategyKind::automatic) o.strategy = StrategyKind::fixed;
  if (o.cache == CacheKind::automatic) o.cache = CacheKind::none;
  o.block_length = o.tokens_per_block();
}

}  // namespace

std::string plain_name(const std::string& field) { return field; }

void validate_values(const DecodingOptions& o, const FieldNaming& named) {
  const auto at_least = [&](const char* field, std::int64_t value, std::int64_t least) {
    if (value < least)
      fail_usage(str(named(field), " is ", value, "; it must be at least ",
                     std::max<std::int64_t>(least, 1)));
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
  not_negative("threshold", o.threshold);  // above 1: nothing exceeds it, one token per pass
  not_negative("factor", o.factor);
  not_negative("entropy_bound", o.entropy_bound);
  not_negative("revise_threshold", o.revise_threshold);
  not_negative("remask_rate", o.remask_rate);
  not_negative("refresh_every", double(o.refresh_every));
  not_negative("vicinity", double(o.vicinity));
  not_negative("initial_length", double(o.initial_length));
  if (o.initial_length > o.gen_length)
    fail_usage(str(named("initial_length"), " is ", o.initial_length, "; it must be at most ",
                   named("gen_length"), " ", o.gen_length));
  if (o.initial_length > 0 && o.steps > 0)
    fail_usage(str(named("initial_length"), " is ", o.initial_length, " and ", named("steps"), " ",
                   o.steps, "; how many passes a text that grows takes is not known beforehand"));
  if (o.remask_rate > 1)
    fail_usage(str(named("remask_rate"), " is ", o.remask_rate, "; it must be at most 1"));
}

void validate(const DecodingOptions& o, const FieldNaming& named) {
  validate_values(o, named);
  if (o.initial_length > 0) return;  // its length is not known beforehand
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

DecodingOptions resolved(const DecodingOptions& options, const ModelConfig& model,
                         const FieldNaming& named) {
  DecodingOptions o = options;
  validate_values(o, named);
  if (o.strategy == StrategyKind::automatic && o.remasking == Remasking::random)
    o.strategy = StrategyKind::fixed;
  // Its shadow rows stand for the row whose token is predicted.
  if (model.logits_shift && o.strategy == StrategyKind::wino)
    fail_usage(
        str(named("strategy"), " ", word_of(o.strategy), " is not for a model with logits_shift"));
  if (model.attention == Attention::bidirectional) {
    resolve_bidirectional(o, model, named);
  } else {
    if (o.initial_length > 0)
      fail_usage(str(named("initial_length"), " is ", o.initial_length, "; a model with ",
                     word_of(model.attention),
                     " attention ends a text where its end token comes, and needs no length"));
    resolve_exact_cache(o, named);
    if (model.attention == Attention::causal)
      resolve_causal(o, named);
    else
      resolve_block_causal(o, model, named);
  }
  if (o.remasking == Remasking::random && o.strategy != StrategyKind::fixed)
    fail_usage(str(named("remasking"), " random is of strategy fixed; strategy ",
                   word_of(o.strategy), " chooses by what is predicted"));
  if (o.threshold == 0) o.threshold = default_threshold(o.strategy);
  if (o.revise_threshold == 0) o.revise_threshold = o.strategy == StrategyKind::edit ? 0.5 : 0.9;
  return o;
}

}  // namespace lacuna
