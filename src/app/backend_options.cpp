#include "app/backend_options.h"

#include "app/validators.h"
#include "core/check.h"

namespace lacuna {
namespace {

template <class E>
CLI::IsMember words() {
  return CLI::IsMember(
      std::vector<std::string>(std::begin(EnumWords<E>::words), std::end(EnumWords<E>::words)));
}

std::optional<bool> hopper_attention(std::string_view kernels) {
  if (kernels == word_of(AttentionKernels::automatic)) return std::nullopt;
  return kernels == word_of(AttentionKernels::hopper);
}

}  // namespace

DeviceOptions device_options(const ParallelConfig& config) {
  return {.index = 0,
          .threads = int(config.threads),
          .tune_products = config.tune_products,
          .hopper_attention = hopper_attention(word_of(config.attention_kernels))};
}

void BackendOptions::add_to(CLI::App& command) {
  command
      .add_option("--device", device,
                  "what computes: cpu, cuda, or cuda-emulated (its kernels on the CPU, slowly)")
      ->check(words<DeviceKind>())
      ->capture_default_str();
  command.add_option("--dtype", dtype, "of weights and activations: f32, or bf16 (not on cpu)")
      ->check(words<Precision>())
      ->capture_default_str();
  command.add_option("--threads", threads, "of the CPU; 0: every core the process may use")
      ->check(thread_count())
      ->capture_default_str();
}

void BackendOptions::add_tuning_to(CLI::App& command) {
  command.add_flag("--tune-products", tune_products,
                   "cuda: as parallel.tune_products: take the fastest algorithms");
  command.add_option("--attention-kernels", attention_kernels, "cuda: portable, hopper or auto")
      ->check(words<AttentionKernels>())
      ->capture_default_str();
}

std::unique_ptr<Ops> BackendOptions::make() const {
  if (device == word_of(DeviceKind::cpu) && type() != DType::f32)
    fail_usage(str("--dtype ", dtype, " needs --device cuda; the CPU computes in f32"));
  return make_ops(device, {.index = 0,
                           .threads = threads,
                           .tune_products = tune_products,
                           .hopper_attention = hopper_attention(attention_kernels)});
}

DType BackendOptions::type() const {
  return dtype == word_of(Precision::bf16) ? DType::bf16 : DType::f32;
}

}  // namespace lacuna
