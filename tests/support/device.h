#pragma once

namespace lacuna::testing {

/// A GPU in builds with CUDA, the emulator in others.
#if defined(LACUNA_CUDA)
inline constexpr const char* kDevice = "cuda";
#else
inline constexpr const char* kDevice = "cuda-emulated";
#endif

}  // namespace lacuna::testing
