#pragma once
#include <memory>
#include <string>

#include "app/command_line.h"
#include "config/config.h"
#include "kernels/backend.h"

namespace lacuna {

/// What [compute] says of the device.
DeviceOptions device_options(const ComputeConfig& config);

/// --device, --dtype and --threads: where and in which type a command computes.
struct BackendOptions {
  std::string device = "cpu", dtype = "f32";
  int threads = 0;
  bool tune_gemms = false;
  std::string attention_kernels = word_of(AttentionKernels::automatic);

  /// Adds the first three to a command, which must not outlive this.
  void add_to(Command command);
  /// --tune-gemms and --attention-kernels, for benchmarks.
  void add_tuning_to(Command command);
  /// Of the first device.
  DeviceOptions device_options() const;
  /// The backend. Throws as device_options(), UsageError for a device this build does not have, and
  /// Error where there is no such device.
  std::unique_ptr<Ops> make() const;
  /// Of weights and activations.
  DType type() const;
  /// What all ranks must agree in, a line each.
  std::string agreed() const;
};

}  // namespace lacuna
