#include <cstring>
#include <iterator>

#include "kernels/platform/emulated/emulator.h"
#include "kernels/platform/emulated/toolkit/state.h"

// Errors, devices and kernels of the CUDA runtime.

namespace lacuna::toolkit {

namespace {
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current = 0;

constexpr std::size_t kSharedWithoutAsking = 48 * 1024;

struct Name {
  cudaError_t error;
  const char *name, *text;
};
#define LACUNA_NAME(error, text) \
  { error, #error, text }
constexpr Name kNames[] = {
    LACUNA_NAME(cudaSuccess, "no error"),
    LACUNA_NAME(cudaErrorInvalidValue, "invalid argument"),
    LACUNA_NAME(cudaErrorMemoryAllocation, "out of memory"),
    LACUNA_NAME(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    LACUNA_NAME(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    LACUNA_NAME(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    LACUNA_NAME(cudaErrorInsufficientDriver, "the driver is older than the runtime"),
    LACUNA_NAME(cudaErrorInvalidDeviceFunction, "invalid device function"),
    LACUNA_NAME(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    LACUNA_NAME(cudaErrorInvalidDevice, "invalid device ordinal"),
    LACUNA_NAME(cudaErrorNoKernelImageForDevice, "no kernel image is available"),
    LACUNA_NAME(cudaErrorUnsupportedPtxVersion, "the PTX is of an unsupported version"),
    LACUNA_NAME(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    LACUNA_NAME(cudaErrorNotReady, "device not ready"),
    LACUNA_NAME(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    LACUNA_NAME(cudaErrorLaunchFailure, "unspecified launch failure"),
    LACUNA_NAME(cudaErrorStreamCaptureUnsupported, "not permitted when the stream is capturing"),
    LACUNA_NAME(cudaErrorStreamCaptureInvalidated, "the capture was invalidated before"),
    LACUNA_NAME(cudaErrorStreamCaptureMerge, "two captures cannot be merged"),
    LACUNA_NAME(cudaErrorStreamCaptureUnmatched, "the capture was not begun in this stream"),
    LACUNA_NAME(cudaErrorStreamCaptureUnjoined, "the capture has unjoined work"),
    LACUNA_NAME(cudaErrorStreamCaptureIsolation, "a dependency crosses the capture's boundary"),
    LACUNA_NAME(cudaErrorStreamCaptureImplicit, "an implicit dependency on a capture"),
    LACUNA_NAME(cudaErrorCapturedEvent, "not permitted on an event recorded in a capture"),
    LACUNA_NAME(cudaErrorStreamCaptureWrongThread, "the capture was begun by another thread"),
};
#undef LACUNA_NAME

const Name* name_of(cudaError_t error) {
  for (const Name& name : kNames)
    if (name.error == error) return &name;
  return nullptr;
}

}  // namespace

State& state() {
  static auto* s = new State;  // never destroyed: streams may outlive main()
  return *s;
}

DeviceModel sm_80() { return {"stand-in of sm_80", 8, 0, 2, 163 * 1024, std::size_t{1} << 30}; }
DeviceModel sm_90() { return {"stand-in of sm_90", 9, 0, 2, 227 * 1024, std::size_t{1} << 30}; }

void note_violation(const std::string& what) {
  const Lock lock(state().mutex);
  state().violations.push_back(what);
}

std::vector<std::string> take_violations() {
  const Lock lock(state().mutex);
  return std::exchange(state().violations, {});
}

void count_call(const char* function) {
  const Lock lock(state().mutex);
  ++state().calls[function];
}

std::int64_t calls(std::string_view function) {
  const Lock lock(state().mutex);
  const auto found = state().calls.find(function);
  return found == state().calls.end() ? 0 : found->second;
}

std::string in_use() {
  const Lock lock(state().mutex);
  const State& s = state();
  std::string list;
  const auto say = [&](std::size_t count, const char* what) {
    if (count) list += str(list.empty() ? "" : ", ", count, " ", what);
  };
  say(s.blocks.size(), "allocations");
  say(s.streams.size(), "streams");
  say(s.events.size(), "events");
  say(s.graphs.size(), "graphs");
  say(s.descriptors.size(), "objects of cuBLASLt");
  return list;
}

void start_machine(Machine machine, Blas blas) {
  emulator::finish_all_streams();
  const std::string left = in_use();
  {
    const Lock lock(state().mutex);
    State& s = state();
    s.machine = std::move(machine);
    s.violations.clear();
    s.calls.clear();
    s.fault = last_error = cudaSuccess;
    s.dynamic_shared.clear();
    s.captures.clear();
    current = 0;
  }
  set_blas(std::move(blas));
  if (!left.empty()) note_violation(str("left over: ", left));
}

cudaError_t fault() {
  const Lock lock(state().mutex);
  return state().fault;
}

cudaError_t set_fault(const std::exception& e) {
  const bool address = dynamic_cast<const IllegalAddress*>(&e);
  const Lock lock(state().mutex);
  state().violations.emplace_back(e.what());
  return state().fault = address ? cudaErrorIllegalAddress : cudaErrorLaunchFailure;
}

cudaError_t set_last_error(cudaError_t error) { return last_error = error; }
int device_of_thread() { return current; }

namespace {

/// What a launch of `shared` dynamic bytes breaks, if anything.
cudaError_t check_launch_of(const emulator::KernelLaunch& l) {
  const auto threads = std::size_t{l.block.x} * l.block.y * l.block.z;
  if (threads == 0 || threads > 1024 || l.block.z > 64 || l.grid.x > 0x7fffffffu ||
      l.grid.y > 65535 || l.grid.z > 65535 || l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0)
    return refuse(cudaErrorInvalidConfiguration, l.op, ": a grid of ", l.grid.x, "x", l.grid.y, "x",
                  l.grid.z, " blocks of ", l.block.x, "x", l.block.y, "x", l.block.z, " threads");
  Lock lock(state().mutex);
  const auto asked = state().dynamic_shared.find(l.kernel);
  const std::size_t room = asked == state().dynamic_shared.end()
                               ? kSharedWithoutAsking
                               : asked->second + kStaticSharedMemory;
  const auto stream = state().streams.find(l.stream);
  const bool elsewhere =
      stream != state().streams.end() && stream->second.device != device_of_thread();
  lock.unlock();
  if (l.shared && l.shared + kStaticSharedMemory > room)
    return refuse(cudaErrorInvalidValue, l.op, ": ", l.shared, " bytes of dynamic shared memory, ",
                  asked == state().dynamic_shared.end() ? "without asking for them"
                                                        : "more than were asked for");
  if (elsewhere)
    return refuse(cudaErrorInvalidResourceHandle, l.op, ": a launch on another device's stream");
  return cudaSuccess;
}

}  // namespace
}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

void emulator::start_kernel(const KernelLaunch& launch, std::function<void()> work) {
  (void)call("kernel", [&] {
    cudaError_t error = check_stream(launch.op, launch.stream);
    if (error == cudaSuccess) error = check_launch_of(launch);
    if (error == cudaSuccess) queue(launch.stream, 1, std::move(work));
    return error;
  });
}

const char* cudaGetErrorString(cudaError_t error) {
  const Name* name = name_of(error);
  return name ? name->text : "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t error) {
  const Name* name = name_of(error);
  return name ? name->name : "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  count_call("cudaGetLastError");
  const cudaError_t error = std::exchange(last_error, cudaSuccess);
  return error == cudaSuccess ? fault() : error;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return call("cudaRuntimeGetVersion", [&] {
    *version = state().machine.runtime;
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call("cudaDriverGetVersion", [&] {
    *version = state().machine.driver;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", [&] {
    const Machine& m = state().machine;
    *count = 0;
    if (m.driver < m.runtime / 1000 * 1000) return cudaErrorInsufficientDriver;
    if (m.devices.empty()) return cudaErrorNoDevice;
    *count = int(m.devices.size());
    return cudaSuccess;
  });
}

namespace {
cudaError_t check_device(const char* function, int device) {
  if (device < 0 || std::size_t(device) >= state().machine.devices.size())
    return refuse(cudaErrorInvalidDevice, function, ": there is no device ", device);
  return cudaSuccess;
}
}  // namespace

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call("cudaGetDeviceProperties", [&] {
    if (const cudaError_t error = check_device("cudaGetDeviceProperties", device)) return error;
    const DeviceModel& m = state().machine.devices[std::size_t(device)];
    *properties = {};
    std::strncpy(properties->name, m.name.c_str(), sizeof properties->name - 1);
    for (int i = 0; i < 16; ++i) properties->uuid.bytes[i] = char(0xf0 - 16 * i + device);
    properties->totalGlobalMem = m.memory;
    properties->sharedMemPerBlockOptin = m.shared_memory;
    properties->multiProcessorCount = m.multiprocessors;
    properties->major = m.major;
    properties->minor = m.minor;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call("cudaGetDevice", [&] {
    *device = current;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", [&] {
    if (const cudaError_t error = check_device("cudaSetDevice", device)) return error;
    current = device;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  return call("cudaFuncGetAttributes", [&] {
    if (!kernel)
      return refuse(cudaErrorInvalidDeviceFunction, "cudaFuncGetAttributes: not a kernel");
    const Lock lock(state().mutex);
    const auto asked = state().dynamic_shared.find(kernel);
    *attributes = {};
    attributes->sharedSizeBytes = kStaticSharedMemory;
    attributes->maxDynamicSharedSizeBytes =
        int(asked == state().dynamic_shared.end() ? kSharedWithoutAsking - kStaticSharedMemory
                                                  : asked->second);
    return state().machine.kernel_code;
  });
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return call("cudaFuncSetAttribute", [&] {
    if (!kernel)
      return refuse(cudaErrorInvalidDeviceFunction, "cudaFuncSetAttribute: not a kernel");
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
      return refuse(cudaErrorInvalidValue, "cudaFuncSetAttribute: attribute ", int(attribute));
    const std::size_t most = state().machine.devices[std::size_t(current)].shared_memory;
    if (value < 0 || std::size_t(value) + kStaticSharedMemory > most)
      return refuse(cudaErrorInvalidValue, "cudaFuncSetAttribute: ", value,
                    " bytes of dynamic shared memory beside ", kStaticSharedMemory,
                    " of static; a block can have ", most);
    const Lock lock(state().mutex);
    state().dynamic_shared[kernel] = std::size_t(value);
    return cudaSuccess;
  });
}
