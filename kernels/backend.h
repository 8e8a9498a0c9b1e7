#pragma once
#include <memory>
#include <string_view>

#include "kernels/ops.h"

namespace lacuna {

/// The backend that parallel.device names: "cpu" (on `threads` threads; 0: every core this process
/// may use), "cuda" (GPU number `index`), or "cuda-emulated" (the CUDA kernels run by the host, to
/// try them out; slow). Throws UsageError for another word, or one this build does not have: one
/// with CUDA has "cuda", one without "cuda-emulated". Throws Error when there is no usable GPU.
std::unique_ptr<Ops> make_ops(std::string_view device, int index = 0, int threads = 0);

}  // namespace lacuna
