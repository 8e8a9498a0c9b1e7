#pragma once
#include <cstdlib>
#include <string>

#include "core/check.h"
#include "kernels/backend.h"

namespace lacuna::testing {

/// A GPU in builds with CUDA, the emulator in others.
#if defined(LACUNA_CUDA)
inline constexpr const char* kDevice = "cuda";
#else
inline constexpr const char* kDevice = "cuda-emulated";
#endif

/// For as long as it lives, this process and those it starts have so many devices; or there is a
/// reason why they have not.
struct Devices {
  explicit Devices(int count) {
    setenv("LACUNA_EMULATED_GPUS", str(count).c_str(), 1);
    try {
      if (const int found = device_count(kDevice); found < count)
        why_not = str(count, " GPUs are needed; there are ", found);
    } catch (const Error& e) {
      why_not = e.what();
    }
  }
  ~Devices() { unsetenv("LACUNA_EMULATED_GPUS"); }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  std::string why_not;
};

}  // namespace lacuna::testing
