#include "app/backend_options.h"

#include "config/dtype.h"
#include "core/check.h"

namespace lacuna {
namespace {

std::optional<bool> hopper_attention(AttentionKernels kernels) {
  if (kernels == AttentionKernels::automatic) return std::nullopt;
  return kernels != AttentionKernels::portable;
}

}  // namespace

DeviceOptions device_options(const ComputeConfig& config) {
  return {.index = 0,
          .threads = int(config.threads),
          .tune_gemms = config.tune_gemms,
          .hopper_attention = hopper_attention(config.attention_kernels),
          .fused_hopper_attention = config.attention_kernels == AttentionKernels::hopper_fused};
}

void BackendOptions::add_to(Command command) {
  command
      .add_option("--device", device,
                  "what computes: cpu, cuda, or cuda-emulated (its kernels on the CPU, slowly)")
      .one_of(all_words<DeviceKind>())
      .show_default();
  command.add_option("--dtype", dtype, "of weights and activations: f32 or bf16")
      .one_of(all_words<Precision>())
      .show_default();
  command.add_option("--threads", threads, "of the CPU; 0: every core the process may use")
      .thread_count()
      .show_default();
}

void BackendOptions::add_tuning_to(Command command) {
  command.add_flag("--tune-gemms", tune_gemms,
                   "cuda: as compute.tune_gemms: take the fastest algorithms");
  command
      .add_option("--attention-kernels", attention_kernels,
                  "cuda: auto, portable, hopper or hopper_fused")
      .one_of(all_words<AttentionKernels>())
      .show_default();
}

DeviceOptions BackendOptions::device_options() const {
  const auto kernels = parse_word<AttentionKernels>(attention_kernels).value();
  return {.index = 0,
          .threads = threads,
          .tune_gemms = tune_gemms,
          .hopper_attention = hopper_attention(kernels),
          .fused_hopper_attention = kernels == AttentionKernels::hopper_fused};
}

std::unique_ptr<Ops> BackendOptions::make() const { return make_ops(device, device_options()); }

std::string BackendOptions::agreed() const {
  return str("--device ", device, "\n--dtype ", dtype, "\n--threads ", threads, "\n");
}

DType BackendOptions::type() const { return type_of(parse_word<Precision>(dtype).value()); }

}  // namespace lacuna
