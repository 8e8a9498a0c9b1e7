#include "kernels/cuda/device.h"

#include <cstring>

#include "core/text.h"
#include "kernels/emulator/device_memory.h"

namespace lacuna {
namespace {

class EmulatedMemory final : public Memory {
 public:
  Place place() const override { return Place::device; }
  void* allocate(std::int64_t bytes) override {
    void* memory = emulator::allocate_device_memory(bytes);
    CHECK(memory, "cuda-emulated: cannot have ", human_bytes(bytes), " of memory");
    return memory;
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    emulator::release_device_memory(memory, bytes);
  }
};

}  // namespace

struct Device::State {
  EmulatedMemory memory;
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
};

int Device::count() { return 1; }

Device::Device(int index) : state_(std::make_unique<State>()) {
  CHECK(index == 0, "cuda-emulated: there is no device ", index, "; there is only device 0");
}

Device::~Device() {
  if (state_->workspace) state_->memory.release(state_->workspace, state_->workspace_bytes);
}

std::string Device::description() const { return "cuda-emulated"; }
std::string Device::identity() const { return {}; }
// Few, so that loops over a fixed number of blocks take more than one turn in small tests.
int Device::multiprocessors() const { return 2; }
std::size_t Device::shared_memory() const { return 163 * 1024; }  // sm_80
bool Device::has_wgmma() const { return true; }
void Device::check_code(const void*) const {}
CUstream_st* Device::stream() const { return nullptr; }
Memory& Device::memory() { return state_->memory; }

void Device::copy(const char*, void* to, Place, std::int64_t to_pitch, const void* from, Place,
                  std::int64_t from_pitch, std::int64_t width, std::int64_t rows) {
  const emulator::DeviceAccess access;
  for (std::int64_t row = 0; row < rows; ++row)
    std::memcpy(static_cast<char*>(to) + row * to_pitch,
                static_cast<const char*>(from) + row * from_pitch, std::size_t(width));
}

void Device::synchronize(const char*) {}

void Device::repeat(std::unique_ptr<Recording>&, const std::function<void()>& work) { work(); }

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
  const emulator::DeviceAccess access;
  std::memset(s.workspace, 0xff, std::size_t(s.workspace_bytes));
  return s.workspace;
}

void check_launch(const char*) {}
void allow_shared_memory(const void*, std::size_t, const char*) {}

}  // namespace lacuna
