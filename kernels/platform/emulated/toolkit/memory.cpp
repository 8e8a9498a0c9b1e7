#include <cstdlib>
#include <cstring>

#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/toolkit/state.h"

// Allocations and copies of the CUDA runtime.

namespace lacuna::toolkit {

std::optional<Block> block_of(const void* p, std::size_t bytes, bool* touched) {
  const auto first = reinterpret_cast<std::uintptr_t>(p);
  const Lock lock(state().mutex);
  auto next = state().blocks.upper_bound(first);
  if (touched) *touched = false;
  if (next == state().blocks.begin()) return std::nullopt;
  const auto& [start, block] = *std::prev(next);
  if (first >= start + block.bytes) return std::nullopt;
  if (touched) *touched = true;
  if (bytes > block.bytes - (first - start)) return std::nullopt;
  return block;
}

void require_device_memory(const char* function, const void* p, std::size_t bytes) {
  const std::optional<Block> block = block_of(p, bytes);
  if (!block || block->kind != Kind::device)
    throw IllegalAddress(str(function, ": ", bytes, " bytes of device memory are gone"));
}

namespace {

constexpr double kCopyMicroseconds = 1;

void forget(void* memory) {
  const Lock lock(state().mutex);
  state().blocks.erase(reinterpret_cast<std::uintptr_t>(memory));
}
void remember(void* memory, std::size_t bytes, Kind kind) {
  const Lock lock(state().mutex);
  state().blocks[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, kind, device_of_thread()};
}

/// Of the device that is current.
std::size_t bytes_in_use() {
  std::size_t sum = 0;
  const Lock lock(state().mutex);
  for (const auto& [memory, block] : state().blocks)
    if (block.kind == Kind::device && block.device == device_of_thread()) sum += block.bytes;
  return sum;
}
std::size_t bytes_in_all() {
  return state().machine.devices[std::size_t(device_of_thread())].memory;
}

/// Frees what is of this kind; waits for all streams first, as the real functions do.
cudaError_t release(const char* function, void* memory, Kind kind) {
  if (!memory) return cudaSuccess;
  if (const cudaError_t error = check_no_capture(function)) return error;
  const std::optional<Block> block = block_of(memory, 1);
  bool is_start = false;
  {
    const Lock lock(state().mutex);
    is_start = state().blocks.count(reinterpret_cast<std::uintptr_t>(memory));
  }
  if (!block || !is_start || block->kind != kind)
    return refuse(cudaErrorInvalidValue, function, ": not memory of that kind, or freed before");
  emulator::finish_all_streams();
  forget(memory);
  if (kind == Kind::device)
    emulator::release_device_memory(memory, std::int64_t(block->bytes));
  else
    std::free(memory);
  return cudaSuccess;
}

/// Rows of bytes, as a 2D copy sees them.
struct Rows {
  char* data;
  std::size_t pitch, width, height;
  std::size_t extent() const { return (height - 1) * pitch + width; }
};

/// Where the rows lie. An error unless that is where the direction of the copy says.
cudaError_t locate(const char* function, const char* what, const Rows& rows, bool on_device,
                   Kind* kind) {
  bool touched = false;
  const std::optional<Block> block = block_of(rows.data, rows.extent(), &touched);
  if (touched && !block)
    return refuse(cudaErrorInvalidValue, function, ": the ", what, " goes on for ", rows.extent(),
                  " bytes, beyond the end of its allocation");
  *kind = block ? block->kind : Kind::pageable;
  if (on_device != (*kind == Kind::device))
    return refuse(cudaErrorInvalidValue, function, ": the ", what, " is ",
                  on_device ? "not in device memory (or it was freed)" : "in device memory",
                  ", against the direction of the copy");
  return cudaSuccess;
}

void copy_now(const Rows& to, const Rows& from) {
  const emulator::DeviceAccess access;
  for (std::size_t row = 0; row < to.height; ++row)
    std::memcpy(to.data + row * to.pitch, from.data + row * from.pitch, to.width);
}

/// What the stream does later; ordinary memory is read now.
Work copying(const char* function, const Rows& to, Rows from, Kind to_kind, Kind from_kind) {
  std::shared_ptr<std::vector<char>> staged;
  if (from_kind == Kind::pageable && to_kind == Kind::device) {
    staged = std::make_shared<std::vector<char>>(from.extent());
    std::memcpy(staged->data(), from.data, from.extent());
    from.data = staged->data();
  }
  return [=] {
    if (to_kind == Kind::device) require_device_memory(function, to.data, to.extent());
    if (from_kind == Kind::device) require_device_memory(function, from.data, from.extent());
    (void)staged;
    copy_now(to, from);
  };
}

cudaError_t copy(const char* function, const Rows& to, const Rows& from, cudaMemcpyKind direction,
                 cudaStream_t stream) {
  if (const cudaError_t error = check_stream(function, stream)) return error;
  if (direction < cudaMemcpyHostToHost || direction > cudaMemcpyDeviceToDevice)
    return refuse(cudaErrorInvalidMemcpyDirection, function, ": direction ", int(direction));
  if (to.width == 0 || to.height == 0) return cudaSuccess;
  if (to.width > to.pitch || from.width > from.pitch)
    return refuse(cudaErrorInvalidPitchValue, function, ": rows of ", to.width,
                  " bytes at pitches of ", to.pitch, " and ", from.pitch);
  const bool to_device =
      direction == cudaMemcpyHostToDevice || direction == cudaMemcpyDeviceToDevice;
  const bool from_device =
      direction == cudaMemcpyDeviceToHost || direction == cudaMemcpyDeviceToDevice;
  Kind to_kind{}, from_kind{};
  if (const cudaError_t error = locate(function, "destination", to, to_device, &to_kind))
    return error;
  if (const cudaError_t error = locate(function, "source", from, from_device, &from_kind))
    return error;
  if (to.data < from.data + from.extent() && from.data < to.data + to.extent())
    return refuse(cudaErrorInvalidValue, function, ": source and destination overlap");
  const bool pageable = to_kind == Kind::pageable || from_kind == Kind::pageable;
  if (pageable && captures(stream)) {
    const Lock lock(state().mutex);
    state().streams[stream].capture->invalid = true;
    state().violations.push_back(
        str(function, ": pageable memory cannot be copied while the stream captures"));
    return cudaErrorStreamCaptureUnsupported;
  }
  queue(stream, kCopyMicroseconds, copying(function, to, from, to_kind, from_kind));
  // To ordinary memory, the copy is done on return; from it, what was there is.
  return to_kind == Kind::pageable ? finish(stream) : cudaSuccess;
}

}  // namespace
}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call("cudaMalloc", [&] {
    if (const cudaError_t error = check_no_capture("cudaMalloc")) return error;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (bytes > bytes_in_all() - bytes_in_use()) return cudaErrorMemoryAllocation;
    *memory = emulator::allocate_device_memory(std::int64_t(bytes));
    if (!*memory) return cudaErrorMemoryAllocation;
    const emulator::DeviceAccess access;
    std::memset(*memory, 0xff, bytes);
    remember(*memory, bytes, Kind::device);
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  return call_to_destroy("cudaFree", [&] { return release("cudaFree", memory, Kind::device); });
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return call("cudaMallocHost", [&] {
    if (const cudaError_t error = check_no_capture("cudaMallocHost")) return error;
    *memory = std::malloc(bytes);
    if (!*memory) return cudaErrorMemoryAllocation;
    remember(*memory, bytes, Kind::pinned);
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* memory) {
  return call_to_destroy("cudaFreeHost",
                         [&] { return release("cudaFreeHost", memory, Kind::pinned); });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call("cudaMemGetInfo", [&] {
    *total = bytes_in_all();
    *free = *total - bytes_in_use();
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return call("cudaMemsetAsync", [&] {
    if (const cudaError_t error = check_stream("cudaMemsetAsync", stream)) return error;
    if (bytes == 0) return cudaSuccess;
    Kind kind{};
    const Rows rows{static_cast<char*>(memory), bytes, bytes, 1};
    if (const cudaError_t error = locate("cudaMemsetAsync", "memory", rows, true, &kind))
      return error;
    queue(stream, kCopyMicroseconds, [=] {
      require_device_memory("cudaMemsetAsync", memory, bytes);
      const emulator::DeviceAccess access;
      if (value == 0)
        emulator::clear_device_memory(memory, bytes);
      else
        std::memset(memory, value, bytes);
    });
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call("cudaMemcpyAsync", [&] {
    const auto rows = [&](const void* data) {
      return Rows{static_cast<char*>(const_cast<void*>(data)), bytes, bytes, 1};
    };
    return copy("cudaMemcpyAsync", rows(to), rows(from), kind, stream);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  return call("cudaMemcpy2DAsync", [&] {
    const auto rows = [&](const void* data, std::size_t pitch) {
      return Rows{static_cast<char*>(const_cast<void*>(data)), pitch, width, height};
    };
    return copy("cudaMemcpy2DAsync", rows(to, to_pitch), rows(from, from_pitch), kind, stream);
  });
}
