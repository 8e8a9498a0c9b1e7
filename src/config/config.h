#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// The words an enum has in configs and messages, in the order of its values.
template <class E>
struct EnumWords;

enum class Attention : std::uint8_t { bidirectional, causal, block_causal };
template <>
struct EnumWords<Attention> {
  static constexpr const char* words[] = {"bidirectional", "causal", "block_causal"};
};
enum class Objective : std::uint8_t { masked_diffusion, autoregressive, block_diffusion };
template <>
struct EnumWords<Objective> {
  static constexpr const char* words[] = {"masked_diffusion", "autoregressive", "block_diffusion"};
};
/// How the masked tokens of n are drawn, and what their cross-entropies weigh. Both give unbiased
/// estimates of the same bound (LLaDA, arXiv:2502.09992).
enum class MaskForm : std::uint8_t {
  mask_count,  // eq. 6: l ~ U{1..n} of them without replacement, weight n / l
  mask_ratio,  // eq. 5: each with probability t ~ U(0,1), weight 1 / t
};
template <>
struct EnumWords<MaskForm> {
  static constexpr const char* words[] = {"mask_count", "mask_ratio"};
};
/// LLaDA's ratio in masked diffusion; the count, whose weights are bounded, in block diffusion.
inline MaskForm default_mask_form(Objective objective) {
  return objective == Objective::block_diffusion ? MaskForm::mask_count : MaskForm::mask_ratio;
}
/// The same as a setting: `automatic` is the objective's default.
enum class MaskFormSetting : std::uint8_t { automatic, mask_count, mask_ratio };
template <>
struct EnumWords<MaskFormSetting> {
  static constexpr const char* words[] = {"auto", "mask_count", "mask_ratio"};
};
enum class BlockSchedule : std::uint8_t { stages, mixed };
template <>
struct EnumWords<BlockSchedule> {
  static constexpr const char* words[] = {"stages", "mixed"};
};
enum class OptimizerName : std::uint8_t { adamw, muon };
template <>
struct EnumWords<OptimizerName> {
  static constexpr const char* words[] = {"adamw", "muon"};
};
enum class Schedule : std::uint8_t { wsd, cosine, constant };
template <>
struct EnumWords<Schedule> {
  static constexpr const char* words[] = {"wsd", "cosine", "constant"};
};
enum class DeviceKind : std::uint8_t { cpu, cuda, cuda_emulated };
template <>
struct EnumWords<DeviceKind> {
  static constexpr const char* words[] = {"cpu", "cuda", "cuda-emulated"};
};
enum class Precision : std::uint8_t { f32, bf16 };
template <>
struct EnumWords<Precision> {
  static constexpr const char* words[] = {"f32", "bf16"};
};
enum class AttentionKernels : std::uint8_t { automatic, portable, hopper, hopper_fused };
template <>
struct EnumWords<AttentionKernels> {
  static constexpr const char* words[] = {"auto", "portable", "hopper", "hopper_fused"};
};
/// In which the products with the blocks' matrices are computed.
enum class LinearDtype : std::uint8_t { automatic, fp8 };
template <>
struct EnumWords<LinearDtype> {
  static constexpr const char* words[] = {"auto", "fp8"};
};
enum class Transport : std::uint8_t { automatic, mpi, nccl };
template <>
struct EnumWords<Transport> {
  static constexpr const char* words[] = {"auto", "mpi", "nccl"};
};
/// How the frozen weights of a model with adapters are held: as compute.dtype, or in a format of
/// kMatrixFormats.
enum class BaseDtype : std::uint8_t { automatic, bf16, f16, q8_0, q4_0, q4_k, q5_k, q6_k };
template <>
struct EnumWords<BaseDtype> {
  static constexpr const char* words[] = {"auto", "bf16", "f16",  "q8_0",
                                          "q4_0", "q4_k", "q5_k", "q6_k"};
};
enum class PadLoss : std::uint8_t { eos, none };
template <>
struct EnumWords<PadLoss> {
  static constexpr const char* words[] = {"eos", "none"};
};
enum class Documents : std::uint8_t { joined, separate };
template <>
struct EnumWords<Documents> {
  static constexpr const char* words[] = {"joined", "separate"};
};
template <class E>
const char* word_of(E e) {
  return EnumWords<E>::words[int(e)];
}
/// The value of a word; none for a word that is none's.
template <class E>
std::optional<E> parse_word(std::string_view word) {
  for (int i = 0; i < int(std::size(EnumWords<E>::words)); ++i)
    if (word == EnumWords<E>::words[i]) return E(i);
  return std::nullopt;
}
template <class E>
std::vector<std::string> all_words() {
  return {std::begin(EnumWords<E>::words), std::end(EnumWords<E>::words)};
}

/// A length of a run's schedule in updates: a whole number of them, or a share of the run in
/// [0, 1). In TOML an integer or a number with a point, as Hugging Face's warmup_steps, eval_steps.
class StepCount {
 public:
  template <std::integral T>
  constexpr StepCount(T steps) : steps_(steps) {}
  template <std::floating_point T>
  constexpr StepCount(T share) : share_(share), is_share_(true) {}

  bool is_share() const { return is_share_; }
  std::int64_t steps() const { return steps_; }
  double share() const { return share_; }
  /// Of a run of `run` updates: the share's, rounded to the nearest, or the number itself, which
  /// may be more than `run`.
  std::int64_t of(std::int64_t run) const {
    return is_share_ ? std::llround(share_ * double(run)) : steps_;
  }
  /// As an interval of a run of `run` updates, for which a share above 0 is at least one update.
  std::int64_t interval(std::int64_t run) const {
    return is_share_ && share_ > 0 ? std::max<std::int64_t>(1, of(run)) : of(run);
  }
  bool is_zero() const { return is_share_ ? share_ == 0 : steps_ == 0; }
  bool operator==(const StepCount&) const = default;

 private:
  std::int64_t steps_ = 0;
  double share_ = 0;
  bool is_share_ = false;
};

// Each section lists its fields once, in fields(): reading, writing, --set, --help and the copy in
// a checkpoint all follow that list. visit(value, "key", "what it means").

struct ModelConfig {
  std::int64_t vocab_size = 0;
  std::int64_t num_layers = 4;
  std::int64_t hidden_size = 256;
  std::int64_t num_heads = 4;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate_size = 704;
  std::int64_t num_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  bool norm_topk_prob = false;
  std::int64_t max_seq_length = 256;
  double rope_theta = 10000;
  double rms_norm_eps = 1e-5;
  bool tie_embeddings = false;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool logits_shift = false;
  bool add_bos_token = false;
  Attention attention = Attention::bidirectional;
  std::int64_t block_size = 0;
  bool causal_context = false;
  std::int64_t mask_token = -1;
  std::int64_t eos_token = -1;
  std::int64_t pad_token = -1;

  bool operator==(const ModelConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.vocab_size, "vocab_size", "rows of the embedding; 0: as many as the tokenizer has ids");
    visit(c.num_layers, "num_layers", "transformer blocks");
    visit(c.hidden_size, "hidden_size", "width C of the residual stream");
    visit(c.num_heads, "num_heads", "query heads");
    visit(c.num_kv_heads, "num_kv_heads",
          "key and value heads, a divisor of num_heads; 0: num_heads");
    visit(c.head_dim, "head_dim", "width of a head; 0: hidden_size / num_heads");
    visit(c.intermediate_size, "intermediate_size",
          "width F of the SwiGLU feed-forward layer; with num_experts, of each expert");
    visit(c.num_experts, "num_experts",
          "experts of each feed-forward layer, a mixture of experts (inference only); 0: none");
    visit(c.num_experts_per_tok, "num_experts_per_tok", "experts that compute each token");
    visit(c.norm_topk_prob, "norm_topk_prob",
          "whether the weights of a token's experts are divided by their sum, as in Qwen3-MoE");
    visit(c.max_seq_length, "max_seq_length", "longest sequence in tokens");
    visit(c.rope_theta, "rope_theta", "base of the rotary position angles");
    visit(c.rms_norm_eps, "rms_norm_eps", "added to the mean square in RMSNorm");
    visit(c.tie_embeddings, "tie_embeddings", "whether the head reuses the embedding's weights");
    visit(c.qkv_bias, "qkv_bias",
          "whether the query, key and value projections have biases, as in Qwen2");
    visit(c.qk_norm, "qk_norm",
          "whether each head of queries and keys is normalised (RMSNorm) before its rotation, as "
          "in Qwen3");
    visit(c.logits_shift, "logits_shift",
          "whether a masked token is predicted at the position before it, as in Dream; causal "
          "models always do");
    visit(c.add_bos_token, "add_bos_token",
          "whether the model expects <|startoftext|> before every text; true once the training "
          "texts all begin with it");
    visit(c.attention, "attention",
          "bidirectional (diffusion), causal (autoregressive) or block_causal (block diffusion: a "
          "token attends to its own block and to earlier ones)");
    visit(c.block_size, "block_size",
          "block_causal: tokens per block, a divisor of max_seq_length; 0 otherwise");
    visit(c.causal_context, "causal_context",
          "block_causal: whether tokens of finished blocks attend to earlier tokens alone, so that "
          "the model can also be autoregressive");
    visit(c.mask_token, "mask_token", "id that stands for a masked token; -1: the tokenizer's");
    visit(c.eos_token, "eos_token", "id that ends a text; -1: the tokenizer's");
    visit(c.pad_token, "pad_token", "id that fills up a batch; -1: the tokenizer's");
  }
  /// Whether a row predicts the token after it.
  bool predicts_next() const { return attention == Attention::causal || logits_shift; }
  bool has_experts() const { return num_experts > 0; }
  std::int64_t kv_heads() const { return num_kv_heads ? num_kv_heads : num_heads; }
  std::int64_t head_width() const { return head_dim ? head_dim : hidden_size / num_heads; }
};

/// One of several corpora that a run learns from; [[data.sources]] in TOML.
struct DataSource {
  std::string path;
  double weight = 1;
  double max_epochs = 0;

  bool operator==(const DataSource&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.path, "path", "as data.train");
    visit(c.weight, "weight", "share of the tokens, relative to the other sources; 0: none yet");
    visit(c.max_epochs, "max_epochs", "passes over it that the run may not exceed; 0: any number");
  }
};

/// Weights that the sources have from a step on; [[data.stages]] in TOML.
struct DataStage {
  std::int64_t from_step = 0;
  std::vector<double> weights;

  bool operator==(const DataStage&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.from_step, "from_step", "steps done before the first with these weights");
    visit(c.weights, "weights", "of the sources, in their order");
  }
};

struct DataConfig {
  static constexpr const char* kDefaultTrain = "data/train.h5";

  std::string train = kDefaultTrain;
  std::string validation;
  std::int64_t sequence_length = 256;
  Documents documents = Documents::joined;
  std::vector<DataSource> sources = {};
  std::vector<DataStage> stages = {};

  bool operator==(const DataConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.train, "train",
          "what to learn from: a token file or a folder of them (lacuna prepare), or Megatron's "
          ".bin/.idx");
    visit(c.validation, "validation", "the same, to validate on; empty: no validation");
    visit(c.sequence_length, "sequence_length",
          "tokens per sequence T, at most model.max_seq_length");
    visit(c.documents, "documents",
          "joined (attention crosses the bounds of documents) or separate (a document in a "
          "sequence attends to itself alone, at positions from 0)");
    visit(c.sources, "sources",
          "several instead of train, each { path, weight, max_epochs }: weight is the share of "
          "tokens, max_epochs the most passes over it (0: any number)");
    visit(c.stages, "stages",
          "other weights of the sources from a step on, each { from_step, weights }");
  }
};

struct TrainConfig {
  static constexpr std::int64_t kDefaultSteps = 1000;  // where neither steps nor epochs is given

  Objective objective = Objective::masked_diffusion;
  std::string output = "runs/default";
  std::string init;
  std::int64_t steps = -1;
  double epochs = 0;
  std::int64_t batch_size = 32;
  std::int64_t micro_batch_size = 8;
  double random_length_fraction = 0.01;
  double min_mask_probability = 0.001;
  std::vector<std::int64_t> block_sizes;
  BlockSchedule block_schedule = BlockSchedule::stages;
  MaskFormSetting mask_form = MaskFormSetting::automatic;
  bool stratified_mask_ratios = false;
  std::int64_t noisy_views = 1;
  bool complementary_masks = false;
  double autoregressive_weight = 0;
  std::int64_t seed = 1;
  StepCount eval_every = 250;
  std::int64_t eval_samples = 128;
  StepCount log_every = 10;
  StepCount checkpoint_every = 500;
  std::int64_t keep_checkpoints = 2;
  bool async_checkpoint = false;
  StepCount sample_every = 0;
  std::int64_t sample_length = 64;
  std::string sample_prompt;
  std::int64_t max_bad_steps = 10;
  std::vector<std::string> recompute;
  bool log_gradient_noise = false;

  /// What mask_form stands for.
  MaskForm resolved_mask_form() const {
    if (mask_form == MaskFormSetting::automatic) return default_mask_form(objective);
    return mask_form == MaskFormSetting::mask_count ? MaskForm::mask_count : MaskForm::mask_ratio;
  }

  bool operator==(const TrainConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.objective, "objective", "masked_diffusion, autoregressive or block_diffusion");
    visit(c.output, "output", "folder of the run: config, metrics, checkpoints");
    visit(c.init, "init", "checkpoint to start the weights from; empty: random");
    visit(c.steps, "steps", "optimizer updates in all; -1: those of epochs, or 1000 without");
    visit(c.epochs, "epochs", "passes over the training data, instead of steps; 0: steps decides");
    visit(c.batch_size, "batch_size",
          "sequences per step, over all ranks; a multiple of micro_batch_size");
    visit(c.micro_batch_size, "micro_batch_size", "sequences per forward pass, per rank");
    visit(c.random_length_fraction, "random_length_fraction",
          "share of the steps whose sequences are cut to a random length");
    visit(c.min_mask_probability, "min_mask_probability", "eps in p = (1 - eps) t + eps");
    visit(c.block_sizes, "block_sizes",
          "block_diffusion: block sizes in training, divisors of data.sequence_length; empty: "
          "model.block_size");
    visit(c.block_schedule, "block_schedule",
          "stages (block_sizes in order, each for an equal share of the run) or mixed (each "
          "sequence draws one of them)");
    visit(c.mask_form, "mask_form",
          "diffusion: mask_count (of n tokens, a drawn number l is masked; weight n / l) or "
          "mask_ratio (each token with a drawn probability p; weight 1 / p), n being a sequence or "
          "a block; auto: mask_ratio in masked_diffusion, mask_count in block_diffusion");
    visit(c.stratified_mask_ratios, "stratified_mask_ratios",
          "diffusion: whether the noise levels of a step's sequences are spread evenly over [0, 1) "
          "instead of drawn independently; ranks then mask nearly equal numbers of tokens");
    visit(c.noisy_views, "noisy_views",
          "diffusion: noisy views of each sequence; in block_diffusion they share its clean "
          "tokens, in masked_diffusion each costs as much as a sequence");
    visit(c.complementary_masks, "complementary_masks",
          "diffusion: of each two noisy views, one masks what the other does not");
    visit(c.autoregressive_weight, "autoregressive_weight",
          "block_diffusion: weight of the next-token loss on the clean tokens, added to the "
          "objective; needs model.causal_context");
    visit(c.seed, "seed", "of every random number of the run");
    visit(c.eval_every, "eval_every",
          "steps between validations, or a share of the run below 1.0; 0: only at the end");
    visit(c.eval_samples, "eval_samples", "validation sequences, each with a fixed mask");
    visit(c.log_every, "log_every", "steps between lines of the log and metrics.jsonl, or a share");
    visit(c.checkpoint_every, "checkpoint_every",
          "steps between checkpoints, or a share; 0: only at the end");
    visit(c.keep_checkpoints, "keep_checkpoints", "newest checkpoints to keep; 0: all");
    visit(c.async_checkpoint, "async_checkpoint",
          "whether training goes on while a checkpoint is written, from a copy in main memory");
    visit(c.sample_every, "sample_every",
          "steps between sample texts in the log, or a share; 0: none");
    visit(c.sample_length, "sample_length", "tokens of such a text");
    visit(c.sample_prompt, "sample_prompt", "how such a text begins");
    visit(c.max_bad_steps, "max_bad_steps",
          "steps in a row with a NaN or infinite gradient after which the run stops");
    visit(c.recompute, "recompute",
          "activations that the backward pass computes again instead of keeping them: gate_up (of "
          "the feed-forward), qkv (queries, keys and values), block (all but its input)");
    visit(c.log_gradient_noise, "log_gradient_noise",
          "whether lines of the log and metrics.jsonl have the gradient noise scale, estimated "
          "from micro-batches or ranks against the whole batch");
  }
};

struct OptimizerConfig {
  OptimizerName name = OptimizerName::adamw;
  double learning_rate = 1e-3;
  double min_learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  bool decay_norms = false;
  bool decay_embeddings = false;
  double clip_norm = 1.0;
  Schedule schedule = Schedule::wsd;
  StepCount warmup_steps = 0.1;
  StepCount decay_steps = 0.2;
  Precision moments_dtype = Precision::f32;
  Precision gradients_dtype = Precision::f32;
  double muon_learning_rate = 0;
  double muon_momentum = 0.95;
  double ema_decay = 0;
  bool cpu_offload = false;

  bool operator==(const OptimizerConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.name, "name",
          "adamw, or muon: momentum orthogonalised for the matrices of the blocks, AdamW for the "
          "embedding, the head, norms and biases");
    visit(c.learning_rate, "learning_rate", "peak learning rate");
    visit(c.min_learning_rate, "min_learning_rate", "final learning rate of wsd and cosine");
    visit(c.beta1, "beta1", "AdamW: decay of the first moment");
    visit(c.beta2, "beta2", "AdamW: decay of the second moment");
    visit(c.eps, "eps", "AdamW: added to the root of the second moment");
    visit(c.weight_decay, "weight_decay", "decoupled decay per unit of learning rate");
    visit(c.decay_norms, "decay_norms", "whether norm weights decay");
    visit(c.decay_embeddings, "decay_embeddings",
          "whether the embedding decays (an untied head does)");
    visit(c.clip_norm, "clip_norm", "largest global gradient norm; 0: no clipping");
    visit(c.schedule, "schedule", "wsd (warm-up, stable, linear decay), cosine or constant");
    visit(c.warmup_steps, "warmup_steps",
          "linear warm-up from 0 to learning_rate: a share of the run below 1.0, or a number of "
          "steps");
    visit(c.decay_steps, "decay_steps",
          "wsd: linear decay to min_learning_rate at the end: a share or a number of steps");
    visit(c.moments_dtype, "moments_dtype",
          "of AdamW's moments: f32, or bf16 with stochastic rounding, in half the memory");
    visit(c.gradients_dtype, "gradients_dtype",
          "of the sums of a step's gradients: f32, or bf16 with stochastic rounding, in half the "
          "memory and, with zero_stage 0 or 1, half the communication");
    visit(c.muon_learning_rate, "muon_learning_rate",
          "Muon: peak learning rate of its matrices, on the same schedule; 0: learning_rate, as "
          "updates are scaled to the size of AdamW's");
    visit(c.muon_momentum, "muon_momentum", "Muon: decay of the momentum (Nesterov's)");
    visit(c.ema_decay, "ema_decay",
          "decay per update of an exponential moving average of the weights, kept beside them; "
          "validation and samples of the run use it; 0: none");
    visit(c.cpu_offload, "cpu_offload",
          "cuda: whether master weights and moments are in main memory and the CPU updates them: "
          "less of the GPU's memory, slower updates");
  }
};

struct ParallelConfig {
  std::int64_t tensor_parallel = 1;
  bool sequence_parallel = false;
  std::int64_t zero_stage = 0;
  double timeout = 600;
  Transport transport = Transport::automatic;

  bool operator==(const ParallelConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.tensor_parallel, "tensor_parallel",
          "ranks of a tensor parallel group; the rest is data parallel");
    visit(c.sequence_parallel, "sequence_parallel",
          "with tensor parallelism, shard the residual stream by rows: less memory, 1.5 times the "
          "communication in the backward pass");
    visit(c.zero_stage, "zero_stage",
          "sharded over data parallel ranks: 1: optimizer states and master weights (ZeRO-1); 2: "
          "gradients too (ZeRO-2), which are then reduced in each micro-batch; 3: weights too "
          "(ZeRO-3), gathered block by block");
    visit(c.timeout, "timeout",
          "seconds a rank waits for another before the run ends with a message; 0: for ever");
    visit(c.transport, "transport",
          "cuda: what carries tensors between GPUs: nccl, mpi (through host memory), or auto: nccl "
          "where each rank has a GPU of its own");
  }
};

/// What a rank computes with.
struct ComputeConfig {
  DeviceKind device = DeviceKind::cpu;
  Precision dtype = Precision::f32;
  LinearDtype linear_dtype = LinearDtype::automatic;
  std::int64_t threads = 0;
  bool tune_gemms = false;
  AttentionKernels attention_kernels = AttentionKernels::automatic;

  bool operator==(const ComputeConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.device, "device", "cpu, cuda, or cuda-emulated (its kernels on the CPU, slowly)");
    visit(c.dtype, "dtype", "of weights and activations: f32, or bf16 with f32 master weights");
    visit(c.linear_dtype, "linear_dtype",
          "of the operands of the products with the blocks' matrices: auto (dtype), or fp8: e4m3 "
          "forward and e5m2 gradients, scaled per tensor; needs dtype = bf16");
    visit(c.threads, "threads", "CPU threads per rank; 0: the rank's share of the cores");
    visit(c.tune_gemms, "tune_gemms",
          "cuda: before the first step, time the GEMM algorithms and take the fastest; they are "
          "kept beside the run, and other runs may differ by rounding");
    visit(c.attention_kernels, "attention_kernels",
          "cuda: portable (mma.sync), hopper (wgmma, on sm_90), hopper_fused (its backward pass in "
          "one kernel; not yet run on a GPU), or auto: hopper where the GPU is of sm_90");
  }
};

/// Fine-tuning (lacuna sft).
struct SftConfig {
  PadLoss pad_loss = PadLoss::eos;
  std::int64_t pad_group = 2;

  bool operator==(const SftConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.pad_loss, "pad_loss",
          "eos: end tokens that fill an example up to its group's longest count as response, as in "
          "LLaDA; none: there are no such tokens");
    visit(c.pad_group, "pad_group", "eos: examples that are filled up to the same length");
  }
};

/// Preference tuning (lacuna dpo).
struct DpoConfig {
  double beta = 0.1;
  std::int64_t mask_samples = 8;
  bool shared_masks = true;
  double sft_weight = 0;
  std::string reference;

  bool operator==(const DpoConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.beta, "beta", "of DPO: how strongly the model is held to the reference model");
    visit(c.mask_samples, "mask_samples",
          "masks from which the likelihood bound of each response is estimated; a causal model's "
          "likelihood is exact");
    visit(c.shared_masks, "shared_masks",
          "whether the reference model sees the masks of the trained model, as in VRPO; false: "
          "masks of its own");
    visit(c.sft_weight, "sft_weight",
          "weight of the fine-tuning objective on the chosen responses, added to the loss");
    visit(c.reference, "reference", "the reference model's checkpoint; empty: train.init");
  }
};

/// Low-rank adapters (lacuna sft, lacuna dpo).
struct LoraConfig {
  std::int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> targets = {"q_proj", "v_proj"};
  BaseDtype base_dtype = BaseDtype::automatic;

  /// s in y = x W^T + s (x A^T) B^T.
  double scale() const { return alpha > 0 && rank > 0 ? alpha / double(rank) : 1; }

  bool operator==(const LoraConfig&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.rank, "rank", "rank of the low-rank adapters (LoRA); 0: full fine-tuning");
    visit(c.alpha, "alpha", "adapters are scaled by alpha / rank; 0: by 1");
    visit(c.targets, "targets",
          "matrices with adapters: q_proj, k_proj, v_proj, attn_out, ff_proj, up_proj, ff_out");
    visit(c.base_dtype, "base_dtype",
          "of the frozen matrices of the blocks: auto (compute.dtype), bf16, f16, or quantised: "
          "q8_0, q6_k, q5_k, q4_k, q4_0; they are converted to compute.dtype as they are used");
  }
};

/// A run, whole. Read once, validated, then const.
struct Config {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  SftConfig sft;
  DpoConfig dpo;
  LoraConfig lora;
  ParallelConfig parallel;
  ComputeConfig compute;

  bool operator==(const Config&) const = default;
  /// visit(section, "name") for each section, in the order they are written.
  template <class Self, class Visitor>
  static void sections(Self& c, Visitor&& visit) {
    visit(c.model, "model");
    visit(c.data, "data");
    visit(c.train, "train");
    visit(c.optimizer, "optimizer");
    visit(c.sft, "sft");
    visit(c.dpo, "dpo");
    visit(c.lora, "lora");
    visit(c.parallel, "parallel");
    visit(c.compute, "compute");
  }
};

/// Reads a TOML file, then applies overrides "section.key=value" (the value as TOML, or a bare word
/// or path for a string). Throws UsageError with file, line and column for malformed TOML, an
/// unknown section or key (naming the nearest known one, or a renamed key's new name) or a value of
/// the wrong type; and what validate() finds. In an override a list is a,b or [a, b].
/// `complete`, where given, changes the config before it is validated; what it returns follows the
/// file's name in what validate() finds.
Config read_config(const std::string& path, const std::vector<std::string>& overrides,
                   const std::function<std::string(Config&)>& complete = {});
/// The same from text; `name` stands for the file in messages. Does not call validate().
Config parse_config(const std::string& text, const std::string& name);
/// The same of text that this program wrote, into a checkpoint: keys and forms of earlier versions
/// (config/renamed_keys.h) are understood, which are errors elsewhere.
Config parse_stored_config(const std::string& text, const std::string& name);
void apply_override(Config& config, const std::string& override_text);
/// Checks every rule that needs no file: ranges, divisibility, lengths. Throws UsageError naming
/// the key, its value and what would be right.
void validate(const Config& config);
/// Only the [model] rules; vocab_size may still be 0.
void validate(const ModelConfig& config);
/// TOML text that parses back to an equal config (doubles round-trip).
std::string to_toml(const Config& config);
/// Every key with its default and meaning, for --help.
std::string config_help();

}  // namespace lacuna
