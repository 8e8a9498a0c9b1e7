#include "app/backend_options.h"

#include "core/check.h"

namespace lacuna {
namespace {

template <class E>
std::vector<std::string> words() {
  return {std::begin(EnumWords<E>::words), std::end(EnumWords<E>::words)};
}

std::optional<bool> hopper_attention(std::string_view kernels) {
  if (kernels == word_of(AttentionKernels::automatic)) return std::nullopt;
  return kernels != word_of(AttentionKernels::portable);
}
bool fused_hopper_attention(std::string_view kernels) {
  return kernels == word_of(AttentionKernels::hopper_fused);
}

}  // namespace

DeviceOptions device_options(const ComputeConfig& config) {
  return {.index = 0,
          .threads = int(config.threads),
          .tune_products = config.tune_gemms,
          .hopper_attention = hopper_attention(word_of(config.attention_kernels)),
          .fused_hopper_attention = fused_hopper_attention(word_of(config.attention_kernels))};
}

void BackendOptions::add_to(Command command) {
  command
      .add_option("--device", device,
                  "what computes: cpu, cuda, or cuda-emulated (its kernels on the CPU, slowly)")
      .one_of(words<DeviceKind>())
      .show_default();
  command.add_option("--dtype", dtype, "of weights and activations: f32, or bf16 (not on cpu)")
      .one_of(words<Precision>())
      .show_default();
  command.add_option("--threads", threads, "of the CPU; 0: every core the process may use")
      .thread_count()
      .show_default();
}

void BackendOptions::add_tuning_to(Command command) {
  command.add_flag("--tune-products", tune_products,
                   "cuda: as parallel.tune_products: take the fastest algorithms");
  command
      .add_option("--attention-kernels", attention_kernels,
                  "cuda: auto, portable, hopper or hopper_fused")
      .one_of(words<AttentionKernels>())
      .show_default();
}

std::unique_ptr<Ops> BackendOptions::make() const {
  if (device == word_of(DeviceKind::cpu) && type() != DType::f32)
    fail_usage(str("--dtype ", dtype, " needs --device cuda; the CPU computes in f32"));
  return make_ops(device, {.index = 0,
                           .threads = threads,
                           .tune_products = tune_products,
                           .hopper_attention = hopper_attention(attention_kernels),
                           .fused_hopper_attention = fused_hopper_attention(attention_kernels)});
}

DType BackendOptions::type() const {
  return dtype == word_of(Precision::bf16) ? DType::bf16 : DType::f32;
}

}  // namespace lacuna
