#include "kernels/platform/device.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "core/text.h"
#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/emulator.h"
#include "kernels/platform/emulated/queue.h"
#include "kernels/platform/stream.h"

namespace lacuna {
namespace {

class EmulatedMemory final : public Memory {
 public:
  Place place() const override { return Place::device; }
  void* allocate(std::int64_t bytes) override {
    void* memory = emulator::allocate_device_memory(bytes);
    CHECK(memory, "cuda-emulated: cannot have ", human_bytes(bytes), " of memory");
    ++emulator::counters.allocations;
    return memory;
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    ++emulator::counters.host_waits;
    emulator::finish_all_streams();
    emulator::release_device_memory(memory, bytes);
  }
};

}  // namespace

struct Device::State {
  int index = 0;
  Stream stream{Stream::Purpose::computation};
  EmulatedMemory memory;
  StagingRing staging{stream, memory};
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
};

/// LACUNA_EMULATED_GPUS in the environment, else 1.
int Device::count() {
  const char* value = std::getenv("LACUNA_EMULATED_GPUS");
  if (!value || !*value) return 1;
  char* end = nullptr;
  const long count = std::strtol(value, &end, 10);
  CHECK(*end == 0 && count >= 1 && count <= 64, "LACUNA_EMULATED_GPUS must be from 1 to 64, not '",
        value, "'");
  return int(count);
}

Device::Device(int index) : state_(std::make_unique<State>()) {
  CHECK(index >= 0 && index < count(), "cuda-emulated: there is no device ", index,
        "; LACUNA_EMULATED_GPUS says how many there are, now ", count());
  use_device(index);
  state_->index = index;
}

Device::~Device() {
  emulator::finish_all_streams();  // copies from the staging memory
  if (state_->workspace) state_->memory.release(state_->workspace, state_->workspace_bytes);
}

std::string Device::description() const { return "cuda-emulated"; }
std::string Device::identity() const { return str("emulated ", state_->index); }
// Few, so that loops over a fixed number of blocks take more than one turn in small tests.
int Device::multiprocessors() const { return 2; }
std::size_t Device::shared_memory() const { return 163 * 1024 - kStaticSharedMemory; }  // sm_80
bool Device::has_wgmma() const { return true; }
bool Device::has_fp8() const { return true; }
void Device::check_code(const void*) const {}
std::string Device::architecture_advice() const {
  return "it was compiled for the emulator, without Hopper's instructions";
}
CUstream_st* Device::stream() const { return state_->stream; }
Memory& Device::memory() { return state_->memory; }

void Device::copy(const char* op, void* to, Place to_place, std::int64_t to_pitch, const void* from,
                  Place from_place, std::int64_t from_pitch, std::int64_t width,
                  std::int64_t rows) {
  const bool staged = to_place == Place::device && from_place == Place::host &&
                      width * rows <= StagingRing::kBlockBytes;
  if (staged) {
    from = state_->staging.packed(from, from_pitch, width, rows);
    from_pitch = width;
  }
  emulator::enqueue(stream(), [=] {
    const emulator::DeviceAccess access;
    for (std::int64_t row = 0; row < rows; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch,
                  static_cast<const char*>(from) + row * from_pitch, std::size_t(width));
  });
  if (to_place == Place::device && from_place == Place::device) return;
  ++emulator::counters.copies;
  emulator::counters.copied_bytes += width * rows;
  if (staged)
    ++emulator::counters.queued_copies;
  else
    synchronize(op);
}

StagingRing& Device::staging() { return state_->staging; }

void Device::synchronize(const char* op) { state_->stream.synchronize(op); }

void Device::run_captured(std::unique_ptr<CapturedGraph>&, const std::function<void()>& work) {
  work();
}

void* Device::workspace(const char*, std::int64_t bytes) {
  State& s = *state_;
  if (bytes > s.workspace_bytes) {
    if (s.workspace) s.memory.release(s.workspace, s.workspace_bytes);
    s.workspace = nullptr;
    s.workspace_bytes = 0;
    s.workspace = s.memory.allocate(bytes);
    s.workspace_bytes = bytes;
  }
  // What an earlier op left there must not be of use to this one.
  emulator::enqueue(stream(), [memory = s.workspace, size = std::size_t(s.workspace_bytes)] {
    const emulator::DeviceAccess access;
    if (size > 0) std::memset(memory, 0xff, size);
  });
  return s.workspace;
}

void emulator::start_kernel(const KernelLaunch& launch, std::function<void()> work) {
  enqueue(launch.stream, std::move(work));
}
void check_launch(const char*) {}
void allow_shared_memory(const void*, std::size_t, const char*) {}

}  // namespace lacuna
