#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "config/validate_data.h"
#include "config/words.h"
#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::int64_t kMany = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kWidest = 1 << 24;
constexpr std::int64_t kMostExperts = 1 << 12;  // Ops::route_rows has no more
constexpr std::int64_t kMostExpertsInAll = 1 << 18;
// Draws have 24 bits (core/philox.h): a smaller probability would not be one, and 1/p would blow up
// the loss.
constexpr double kLeastMaskProbability = 1e-6;

/// Messages read "train.steps = 0 must be at least 1".
class Rules {
 public:
  explicit Rules(std::string section) : section_(std::move(section)) {}

  template <class T>
  std::string named(const char* key, const T& value) const {
    return section_ + "." + key + " = " + toml_value(value);
  }
  template <class T>
  [[noreturn]] void broken(const char* key, const T& value, const std::string& rule) const {
    fail_usage(named(key, value) + " " + rule);
  }
  void between(const char* key, std::int64_t value, std::int64_t least,
               std::int64_t most = kMany) const {
    if (value < least) broken(key, value, str("must be at least ", least));
    if (value > most) broken(key, value, str("must be at most ", most));
  }
  /// Refuses NaN and infinities too.
  void between(const char* key, double value, double least, double most) const {
    if (!(value >= least && value <= most))
      broken(key, value, "must lie between " + toml_value(least) + " and " + toml_value(most));
  }
  void finite(const char* key, double value) const {
    if (!std::isfinite(value)) broken(key, value, "must be a finite number");
  }
  void above_zero(const char* key, double value) const {
    finite(key, value);
    if (value <= 0) broken(key, value, "must be above 0");
  }
  void not_negative(const char* key, double value) const {
    finite(key, value);
    if (value < 0) broken(key, value, "must not be negative");
  }
  /// Computed with in f32, where it must neither vanish nor overflow.
  void f32_above_zero(const char* key, double value) const {
    above_zero(key, value);
    between(key, value, double(std::numeric_limits<float>::min()),
            double(std::numeric_limits<float>::max()));
  }
  void f32_not_negative(const char* key, double value) const {
    not_negative(key, value);
    between(key, value, 0.0, double(std::numeric_limits<float>::max()));
  }
  void decay(const char* key, double value) const {
    if (!(value >= 0 && value < 1)) broken(key, value, "must lie in [0, 1)");
  }
  /// Of a key that other settings leave without effect: refused unless it has its default.
  template <class T>
  void unused(const char* key, const T& value, const T& by_default, const std::string& rule) const {
    if (value != by_default) broken(key, value, rule);
  }
  void not_empty(const char* key, const std::string& value) const {
    if (value.empty()) broken(key, value, "must not be empty");
  }

 private:
  std::string section_;
};

void check_special_tokens(const ModelConfig& c, const Rules& rules) {
  const auto token = [&](const char* key, std::int64_t id) {
    rules.between(key, id, -1);
    if (c.vocab_size > 0 && id >= c.vocab_size)
      rules.broken(key, id, "must be below " + rules.named("vocab_size", c.vocab_size));
  };
  token("mask_token", c.mask_token);
  token("eos_token", c.eos_token);
  token("pad_token", c.pad_token);
  // Padding may be the end token (LLaDA does so), but a mask must be neither.
  if (c.mask_token < 0) return;
  if (c.mask_token == c.eos_token)
    rules.broken("mask_token", c.mask_token, "must differ from model.eos_token");
  if (c.mask_token == c.pad_token)
    rules.broken("mask_token", c.mask_token, "must differ from model.pad_token");
}

void check_experts(const ModelConfig& c, const Rules& rules) {
  rules.between("num_experts", c.num_experts, 0, kMostExperts);
  if (c.has_experts()) {
    rules.between("num_experts_per_tok", c.num_experts_per_tok, 1);
    if (c.num_experts_per_tok > c.num_experts)
      rules.broken("num_experts_per_tok", c.num_experts_per_tok,
                   "must be at most " + rules.named("num_experts", c.num_experts));
    // Each is three names, so that a small file could ask for much memory.
    if (c.num_experts * c.num_layers > kMostExpertsInAll)
      rules.broken("num_experts", c.num_experts,
                   str("times ", rules.named("num_layers", c.num_layers), " must be at most ",
                       kMostExpertsInAll));
    return;
  }
  const std::string needed = "needs model.num_experts, the number of experts";
  if (c.num_experts_per_tok != 0)
    rules.broken("num_experts_per_tok", c.num_experts_per_tok, needed);
  if (c.norm_topk_prob) rules.broken("norm_topk_prob", c.norm_topk_prob, needed);
}

void check_step_count(const Rules& rules, const char* key, const StepCount& count) {
  if (!count.is_share()) return rules.between(key, count.steps(), 0);
  const double share = count.share();
  if (share >= 0 && share < 1) return;
  const bool whole = share >= 1 && share <= double(kMany) && share == std::floor(share);
  rules.broken(key, count,
               str("must be a share of the run in [0, 1), or a whole number of steps",
                   whole ? str("; write ", std::int64_t(share)) : std::string()));
}

/// How diffusion masks.
void check_masks(const TrainConfig& t) {
  const Rules rules("train");
  if (t.objective == Objective::autoregressive) {
    const TrainConfig unset;
    const std::string rule =
        "needs a diffusion objective, not " + rules.named("objective", t.objective);
    rules.unused("mask_form", t.mask_form, unset.mask_form, rule);
    rules.unused("stratified_mask_ratios", t.stratified_mask_ratios, unset.stratified_mask_ratios,
                 rule);
    rules.unused("noisy_views", t.noisy_views, unset.noisy_views, rule);
    rules.unused("complementary_masks", t.complementary_masks, unset.complementary_masks, rule);
    return;
  }
  rules.between("noisy_views", t.noisy_views, 1, 1 << 12);
  if (t.complementary_masks && t.noisy_views % 2 != 0)
    rules.broken("complementary_masks", t.complementary_masks,
                 "needs an even number of views; " + rules.named("noisy_views", t.noisy_views));
}

/// What train.objective = "block_diffusion" adds.
void check_block_diffusion(const Config& c) {
  const TrainConfig& t = c.train;
  const Rules rules("train"), model("model"), data("data");
  if (t.objective != Objective::block_diffusion) {
    const TrainConfig unset;
    const std::string rule = "needs " + rules.named("objective", Objective::block_diffusion);
    rules.unused("block_sizes", t.block_sizes, unset.block_sizes, rule);
    rules.unused("block_schedule", t.block_schedule, unset.block_schedule, rule);
    rules.unused("autoregressive_weight", t.autoregressive_weight, unset.autoregressive_weight,
                 rule);
    return;
  }
  const std::int64_t block = c.model.block_size, length = c.data.sequence_length;
  if (length % block != 0)
    data.broken("sequence_length", length,
                "must be a multiple of " + model.named("block_size", block));
  for (const std::int64_t size : t.block_sizes)
    if (size < 1 || length % size != 0)
      rules.broken("block_sizes", t.block_sizes,
                   str("contains ", size, ", which does not divide ",
                       data.named("sequence_length", length)));
  const bool stages = t.block_schedule == BlockSchedule::stages;
  const auto& sizes = t.block_sizes;
  if (!sizes.empty() && stages && sizes.back() != block)
    rules.broken("block_sizes", sizes, "must end with " + model.named("block_size", block));
  if (!sizes.empty() && !stages && std::find(sizes.begin(), sizes.end(), block) == sizes.end())
    rules.broken("block_sizes", sizes, "must contain " + model.named("block_size", block));
  rules.f32_not_negative("autoregressive_weight", t.autoregressive_weight);
  if (t.autoregressive_weight > 0 && !c.model.causal_context)
    rules.broken("autoregressive_weight", t.autoregressive_weight,
                 "needs model.causal_context = true: else a token attends to the one it predicts");
  if (t.autoregressive_weight > 0 && length < 2)
    data.broken("sequence_length", length, "must be at least 2");
}

void check_recompute(const Rules& rules, const std::vector<std::string>& recompute) {
  static constexpr std::array<std::string_view, 3> words = {"gate_up", "qkv", "block"};
  for (auto word = recompute.begin(); word != recompute.end(); ++word) {
    if (std::find(words.begin(), words.end(), *word) == words.end())
      rules.broken("recompute", recompute, "may hold gate_up, qkv and block");
    if (std::find(recompute.begin(), word, *word) != word)
      rules.broken("recompute", recompute, "names " + *word + " twice");
  }
}

void check_train(const Config& c) {
  const TrainConfig& t = c.train;
  const Rules rules("train");
  rules.not_empty("output", t.output);
  if (t.steps != -1) rules.between("steps", t.steps, 1);
  rules.not_negative("epochs", t.epochs);
  rules.between("epochs", t.epochs, 0.0, double(kMany));
  if (t.steps != -1 && t.epochs > 0)
    rules.broken("steps", t.steps, "and " + rules.named("epochs", t.epochs) + ": give one of them");
  rules.between("batch_size", t.batch_size, 1);
  rules.between("micro_batch_size", t.micro_batch_size, 1);
  if (c.optimizer.gradients_dtype == Precision::bf16 && t.batch_size > 1 << 20)
    rules.broken("batch_size", t.batch_size,
                 "must be at most 1048576 with " +
                     Rules("optimizer").named("gradients_dtype", c.optimizer.gradients_dtype));
  if (t.batch_size % t.micro_batch_size != 0)
    rules.broken("batch_size", t.batch_size,
                 "must be a multiple of " + rules.named("micro_batch_size", t.micro_batch_size));
  rules.between("random_length_fraction", t.random_length_fraction, 0.0, 1.0);
  rules.between("min_mask_probability", t.min_mask_probability, kLeastMaskProbability, 1.0);
  rules.between("seed", t.seed, 0, std::numeric_limits<std::int64_t>::max());
  check_step_count(rules, "eval_every", t.eval_every);
  rules.between("eval_samples", t.eval_samples, 1);
  check_step_count(rules, "log_every", t.log_every);
  if (t.log_every.is_zero()) rules.broken("log_every", t.log_every, "must be at least 1");
  check_step_count(rules, "checkpoint_every", t.checkpoint_every);
  rules.between("keep_checkpoints", t.keep_checkpoints, 0);
  check_step_count(rules, "sample_every", t.sample_every);
  rules.between("sample_length", t.sample_length, 1);
  if (!t.sample_every.is_zero() && t.sample_length > c.model.max_seq_length)
    rules.broken(
        "sample_length", t.sample_length,
        "must be at most " + Rules("model").named("max_seq_length", c.model.max_seq_length));
  rules.between("max_bad_steps", t.max_bad_steps, 1);
  check_recompute(rules, t.recompute);
  const Attention needed = t.objective == Objective::autoregressive    ? Attention::causal
                           : t.objective == Objective::block_diffusion ? Attention::block_causal
                                                                       : Attention::bidirectional;
  if (c.model.attention != needed)
    rules.broken("objective", t.objective, "needs " + Rules("model").named("attention", needed));
  check_masks(t);
  check_block_diffusion(c);
}

void check_optimizer(const OptimizerConfig& o) {
  const Rules rules("optimizer");
  rules.f32_above_zero("learning_rate", o.learning_rate);
  rules.f32_not_negative("min_learning_rate", o.min_learning_rate);
  if (o.schedule != Schedule::constant && o.min_learning_rate > o.learning_rate)
    rules.broken("min_learning_rate", o.min_learning_rate,
                 "must be at most " + rules.named("learning_rate", o.learning_rate));
  rules.f32_not_negative("muon_learning_rate", o.muon_learning_rate);
  rules.decay("muon_momentum", o.muon_momentum);
  rules.decay("ema_decay", o.ema_decay);
  if (o.name == OptimizerName::muon && o.moments_dtype == Precision::bf16)
    rules.broken("moments_dtype", o.moments_dtype,
                 "is for optimizer.name = \"adamw\"; Muon keeps its momentum in f32");
  rules.decay("beta1", o.beta1);
  rules.decay("beta2", o.beta2);
  rules.f32_above_zero("eps", o.eps);
  rules.f32_not_negative("weight_decay", o.weight_decay);
  rules.f32_not_negative("clip_norm", o.clip_norm);
  // What AdamW's loops hold: learning_rate / (1 - beta1) in the first step, learning_rate * decay.
  constexpr double most = std::numeric_limits<float>::max();
  const double rate = std::max({o.learning_rate, o.min_learning_rate, o.muon_learning_rate});
  if (rate / (1 - o.beta1) > most)
    fail_usage(rules.named("learning_rate", rate) + " over 1 - " + rules.named("beta1", o.beta1) +
               " is beyond f32");
  if (rate * o.weight_decay > most)
    fail_usage(rules.named("learning_rate", rate) + " times " +
               rules.named("weight_decay", o.weight_decay) + " is beyond f32");
  check_step_count(rules, "warmup_steps", o.warmup_steps);
  check_step_count(rules, "decay_steps", o.decay_steps);
  if (o.schedule == Schedule::wsd && o.warmup_steps.share() + o.decay_steps.share() > 1)
    fail_usage(rules.named("warmup_steps", o.warmup_steps) + " and " +
               rules.named("decay_steps", o.decay_steps) +
               " are shares of a run; together they must be at most 1.0");
}

void check_sft(const SftConfig& s) {
  const Rules rules("sft");
  rules.between("pad_group", s.pad_group, 1, 1 << 20);
}

void check_offload(const OptimizerConfig& o, const Config& config) {
  if (!o.cpu_offload) return;
  const Rules rules("optimizer");
  if (config.compute.device == DeviceKind::cpu)
    rules.broken("cpu_offload", true, "needs compute.device = \"cuda\"");
  if (o.name != OptimizerName::adamw)
    rules.broken("cpu_offload", true, "needs " + rules.named("name", OptimizerName::adamw));
  if (config.lora.rank > 0)
    rules.broken("cpu_offload", true,
                 "updates all weights; for " + Rules("lora").named("rank", config.lora.rank) +
                     " it must be false");
}

void check_dpo(const DpoConfig& d) {
  const Rules rules("dpo");
  rules.f32_above_zero("beta", d.beta);
  rules.between("mask_samples", d.mask_samples, 1, 1 << 16);
  rules.f32_not_negative("sft_weight", d.sft_weight);
}

void check_lora(const LoraConfig& l, const OptimizerConfig& o) {
  const Rules rules("lora"), optimizer("optimizer");
  if (l.rank > 0 && o.name != OptimizerName::adamw)
    optimizer.broken("name", o.name,
                     "trains all weights; for " + rules.named("rank", l.rank) + " use \"adamw\"");
  if (l.rank > 0 && o.ema_decay > 0)
    optimizer.broken("ema_decay", o.ema_decay,
                     "averages all weights; for " + rules.named("rank", l.rank) + " it must be 0");
  rules.between("rank", l.rank, 0);
  rules.f32_not_negative("alpha", l.alpha);
  if (l.rank > 0 && l.targets.empty())
    rules.broken("targets", l.targets, "names no matrix, but " + rules.named("rank", l.rank));
}

void check_parallel(const ParallelConfig& p, const Config& config) {
  const Rules rules("parallel");
  rules.between("tensor_parallel", p.tensor_parallel, 1);
  const auto divides = [&](const char* key, std::int64_t value) {
    if (value % p.tensor_parallel != 0)
      rules.broken("tensor_parallel", p.tensor_parallel,
                   "must divide " + Rules("model").named(key, value));
  };
  divides("num_heads", config.model.num_heads);
  divides("num_kv_heads", config.model.kv_heads());
  divides("intermediate_size", config.model.intermediate_size);
  rules.between("zero_stage", p.zero_stage, 0, 3);
  if (p.zero_stage == 3 && config.lora.rank > 0)
    rules.broken("zero_stage", p.zero_stage,
                 "shards weights that are trained; for adapters (" +
                     Rules("lora").named("rank", config.lora.rank) + ") it must be at most 2");
  if (p.transport == Transport::nccl && config.compute.device == DeviceKind::cpu)
    rules.broken("transport", p.transport, "needs compute.device = \"cuda\"");
  rules.not_negative("timeout", p.timeout);
}

/// Where products with the blocks' matrices are in FP8. The sizes are multiples of 16
/// (kernels/ops.h) on each tensor parallel rank, wherever they are summed over.
void check_fp8(const Config& c) {
  const Rules rules("compute"), model("model");
  const auto needs = [&](const std::string& what) {
    rules.broken("linear_dtype", c.compute.linear_dtype, what);
  };
  if (c.compute.dtype != Precision::bf16)
    needs("needs bf16 weights, not " + rules.named("dtype", c.compute.dtype));
  if (c.lora.rank > 0)
    needs("is for training all weights, not " + Rules("lora").named("rank", c.lora.rank));
  if (c.model.has_experts())
    needs("is not for a mixture of experts, " + model.named("num_experts", c.model.num_experts));
  const std::int64_t ranks = c.parallel.tensor_parallel;
  const auto fits = [&](const std::string& what, std::int64_t size) {
    if (size % (16 * ranks) != 0)
      needs(ranks == 1 ? "needs multiples of 16, not " + what
                       : str("needs multiples of ", 16 * ranks, ", 16 on each of ", ranks,
                             " tensor parallel ranks, not ", what));
  };
  if (c.model.hidden_size % 16 != 0)
    needs("needs multiples of 16, not " + model.named("hidden_size", c.model.hidden_size));
  fits(model.named("intermediate_size", c.model.intermediate_size), c.model.intermediate_size);
  fits(model.named("num_kv_heads", c.model.kv_heads()) +
           str(", each ", c.model.head_width(), " wide"),
       c.model.kv_heads() * c.model.head_width());
}

void check_compute(const Config& c) {
  const Rules rules("compute");
  rules.between("threads", c.compute.threads, 0, 1 << 16);
  if (c.compute.linear_dtype == LinearDtype::fp8) check_fp8(c);
}

}  // namespace

void validate(const ModelConfig& c) {
  const Rules rules("model");
  rules.between("vocab_size", c.vocab_size, 0, kWidest);
  rules.between("num_layers", c.num_layers, 1, 1 << 16);
  rules.between("hidden_size", c.hidden_size, 1, kWidest);
  rules.between("num_heads", c.num_heads, 1, kWidest);
  rules.between("num_kv_heads", c.num_kv_heads, 0, kWidest);
  rules.between("intermediate_size", c.intermediate_size, 1, kWidest);
  rules.between("max_seq_length", c.max_seq_length, 1);
  rules.between("head_dim", c.head_dim, 0, kWidest);
  if (c.head_dim == 0 && c.hidden_size % c.num_heads != 0)
    rules.broken("hidden_size", c.hidden_size,
                 "must be a multiple of " + rules.named("num_heads", c.num_heads) +
                     ", or model.head_dim be given");
  if (c.head_dim % 2 != 0)
    rules.broken("head_dim", c.head_dim, "must be even: rotary positions turn pairs");
  if (c.head_width() % 2 != 0)
    fail_usage(str(rules.named("hidden_size", c.hidden_size), " over ",
                   rules.named("num_heads", c.num_heads), " makes heads ", c.head_width(),
                   " wide; rotary positions need an even number"));
  if (c.num_heads % c.kv_heads() != 0)
    rules.broken("num_kv_heads", c.num_kv_heads,
                 "must divide " + rules.named("num_heads", c.num_heads));
  check_experts(c, rules);
  rules.between("block_size", c.block_size, 0);
  const bool blocks = c.attention == Attention::block_causal;
  if (blocks && c.block_size == 0)
    rules.broken("attention", c.attention, "needs model.block_size, the tokens per block");
  if (blocks && c.max_seq_length % c.block_size != 0)
    rules.broken("max_seq_length", c.max_seq_length,
                 "must be a multiple of " + rules.named("block_size", c.block_size));
  const std::string needed = "needs " + rules.named("attention", Attention::block_causal);
  if (!blocks && c.block_size != 0) rules.broken("block_size", c.block_size, needed);
  if (!blocks && c.causal_context) rules.broken("causal_context", c.causal_context, needed);
  if (c.logits_shift && c.attention == Attention::causal)
    rules.broken("logits_shift", c.logits_shift,
                 "is for diffusion models; one with " + rules.named("attention", c.attention) +
                     " always predicts the next token");
  rules.f32_above_zero("rope_theta", c.rope_theta);
  rules.f32_above_zero("rms_norm_eps", c.rms_norm_eps);
  check_special_tokens(c, rules);
  // Beyond this, sizes in bytes no longer fit 64 bits.
  const double parameters = double(c.num_layers) * double(c.hidden_size) *
                                (4 * double(c.num_heads) * double(c.head_width()) +
                                 double(std::max<std::int64_t>(1, c.num_experts)) *
                                     (3 * double(c.intermediate_size) + 1)) +
                            2 * double(c.vocab_size) * double(c.hidden_size);
  if (parameters > 1e15)
    fail_usage(str("[model] describes ", parameters, " parameters; at most 1e15 are possible"));
}

void validate(const Config& c) {
  validate(c.model);
  const Rules data("data");
  if (c.data.sources.empty()) data.not_empty("train", c.data.train);
  validate_sources(c.data);
  if (c.data.documents == Documents::separate && c.train.objective == Objective::block_diffusion)
    data.broken("documents", c.data.documents,
                "is for masked_diffusion and autoregressive: blocks of block_diffusion would cross "
                "the bounds of documents");
  // The autoregressive objective predicts the next token, so needs two.
  data.between("sequence_length", c.data.sequence_length,
               c.train.objective == Objective::autoregressive ? 2 : 1);
  if (c.data.sequence_length > c.model.max_seq_length)
    data.broken(
        "sequence_length", c.data.sequence_length,
        "must be at most " + Rules("model").named("max_seq_length", c.model.max_seq_length));
  check_train(c);
  check_optimizer(c.optimizer);
  check_offload(c.optimizer, c);
  check_sft(c.sft);
  check_dpo(c.dpo);
  check_lora(c.lora, c.optimizer);
  check_parallel(c.parallel, c);
  check_compute(c);
}

}  // namespace lacuna
