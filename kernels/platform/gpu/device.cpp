#include "kernels/platform/device.h"

#include <cuda_runtime.h>

#include <optional>

#include "core/text.h"
#include "kernels/platform/gpu/cuda_error.h"
#include "kernels/platform/stream.h"

namespace lacuna {
namespace {

/// The oldest architecture the kernels are compiled for: sm_80, Ampere.
constexpr int kOldestMajor = 8;

/// A CUDA version number as people write it: 13000 is "13.0".
std::string version(int number) { return str(number / 1000, ".", number % 1000 / 10); }

/// Before anything else asks the runtime, whose own errors at this point puzzle people.
int count_devices() {
  int driver = 0, runtime = 0, count = 0;
  check(cudaRuntimeGetVersion(&runtime), "cuda");
  (void)cudaDriverGetVersion(&driver);
  CHECK(driver != 0, "cuda: there is no NVIDIA driver on this machine; use device \"cpu\"");
  const cudaError_t error = cudaGetDeviceCount(&count);
  CHECK(error != cudaErrorInsufficientDriver, "cuda: the NVIDIA driver is for CUDA ",
        version(driver), " but this program needs ", version(runtime), "; update the driver");
  CHECK(error != cudaErrorNoDevice && (error != cudaSuccess || count > 0),
        "cuda: there is no CUDA device; use device \"cpu\", or look at CUDA_VISIBLE_DEVICES");
  check(error, "cuda");
  return count;
}

void check_device(int index) {
  const int count = count_devices();
  CHECK(index >= 0 && index < count, "cuda: there is no device ", index, "; this process sees ",
        count, count == 1 ? ", device 0" : str(", 0 to ", count - 1));
}

cudaMemcpyKind kind_of(Place to, Place from) {
  if (to == Place::device)
    return from == Place::device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
  return from == Place::device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

class DeviceMemory final : public Memory {
 public:
  explicit DeviceMemory(cudaStream_t stream) : stream_(stream) {}
  Place place() const override { return Place::device; }
  void* allocate(std::int64_t bytes) override {
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, std::size_t(bytes ? bytes : 1));
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      std::size_t available = 0, total = 0;
      (void)cudaMemGetInfo(&available, &total);
      fail(str("cuda: cannot have ", human_bytes(bytes), " of device memory; ",
               human_bytes(std::int64_t(available)), " of ", human_bytes(std::int64_t(total)),
               " are free"));
    }
    check(error, "cuda: allocate");
    check(cudaMemsetAsync(memory, 0, std::size_t(bytes), stream_), "cuda: allocate");
    return memory;
  }
  void release(void* memory, std::int64_t) noexcept override {
    (void)cudaFree(memory);  // waits for the device, so nothing on the stream still uses it
  }
  std::int64_t available() const override {
    std::size_t available = 0, total = 0;
    (void)cudaMemGetInfo(&available, &total);
    return std::int64_t(available);
  }

 private:
  cudaStream_t stream_;
};

/// A graph, and the workspace that its kernels were recorded with.
struct Graph final : CapturedGraph {
  ~Graph() override { reset(); }
  void reset() noexcept {
    if (instance) (void)cudaGraphExecDestroy(instance);
    instance = nullptr;
  }
  cudaGraphExec_t instance = nullptr;
  void* workspace = nullptr;
};

/// What `work` puts on the stream, not done yet.
cudaGraphExec_t recorded(cudaStream_t stream, const std::function<void()>& work) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "run_captured");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    (void)cudaGetLastError();  // that the capture is invalid: why is on its way
    if (graph) (void)cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "run_captured");
  cudaGraphExec_t instance = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&instance, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(error, "run_captured");
  return instance;
}

}  // namespace

struct Device::State {
  explicit State(int index) {
    check_device(index);
    use_device(index);
    check(cudaGetDeviceProperties(&properties, index), "cuda");
    CHECK(properties.major >= kOldestMajor, "cuda: device ", index, " (", properties.name,
          ") is of architecture sm_", properties.major, properties.minor,
          "; the kernels need sm_80 or newer");
    stream.emplace(Stream::Purpose::computation);
    memory = std::make_unique<DeviceMemory>(*stream);
    staging = std::make_unique<StagingRing>(*stream, *memory);
  }
  ~State() {
    if (workspace) memory->release(workspace, workspace_bytes);
    if (staging) (void)cudaStreamSynchronize(*stream);  // copies from it
  }

  cudaDeviceProp properties{};
  std::optional<Stream> stream;  // made on the device that was chosen first
  std::unique_ptr<DeviceMemory> memory;
  std::unique_ptr<StagingRing> staging;
  bool records = false;  // run_captured
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
};

int Device::count() { return count_devices(); }

Device::Device(int index) : state_(std::make_unique<State>(index)) {}
Device::~Device() = default;

std::string Device::description() const {
  const cudaDeviceProp& p = state_->properties;
  return str("cuda, ", p.name, ", ", p.multiProcessorCount, " multiprocessors, sm_", p.major,
             p.minor);
}
std::string Device::identity() const {
  std::string digits;
  for (const char c : state_->properties.uuid.bytes)
    for (const int nibble : {c >> 4 & 15, c & 15}) digits += "0123456789abcdef"[nibble];
  return digits;
}
bool Device::has_wgmma() const {
  return state_->properties.major == 9 && state_->properties.minor == 0;
}
bool Device::has_fp8() const {
  const cudaDeviceProp& p = state_->properties;
  return p.major > 8 || (p.major == 8 && p.minor >= 9);
}
void Device::check_code(const void* kernel) const {
  cudaFuncAttributes attributes{};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  CHECK(error != cudaErrorNoKernelImageForDevice && error != cudaErrorInvalidDeviceFunction &&
            error != cudaErrorUnsupportedPtxVersion,
        "cuda: this program has no code for the GPU: ", architecture_advice());
  check(error, "cuda");
}
std::string Device::architecture_advice() const {
  const cudaDeviceProp& p = state_->properties;
  // sm_90's wgmma and TMA instructions are of the architecture-specific sm_90a alone.
  return str("it was compiled for the architectures ", LACUNA_CUDA_ARCHITECTURES, ", and ", p.name,
             " is sm_", p.major, p.minor, "; build it with -DCMAKE_CUDA_ARCHITECTURES=", p.major,
             p.minor, has_wgmma() ? "a" : "");
}
int Device::multiprocessors() const { return state_->properties.multiProcessorCount; }
std::size_t Device::shared_memory() const {
  return state_->properties.sharedMemPerBlockOptin - kStaticSharedMemory;
}
CUstream_st* Device::stream() const { return *state_->stream; }
Memory& Device::memory() { return *state_->memory; }

void Device::copy(const char* op, void* to, Place to_place, std::int64_t to_pitch, const void* from,
                  Place from_place, std::int64_t from_pitch, std::int64_t width,
                  std::int64_t rows) {
  const cudaMemcpyKind kind = kind_of(to_place, from_place);
  // A recorded copy would read the staging memory again, long after it has other contents.
  const bool staged = kind == cudaMemcpyHostToDevice && width * rows > 0 &&
                      width * rows <= StagingRing::kBlockBytes && !state_->records;
  if (staged) {
    from = state_->staging->packed(from, from_pitch, width, rows);
    from_pitch = width;
  }
  if (rows == 1)
    check(cudaMemcpyAsync(to, from, std::size_t(width), kind, *state_->stream), op);
  else
    check(cudaMemcpy2DAsync(to, std::size_t(to_pitch), from, std::size_t(from_pitch),
                            std::size_t(width), std::size_t(rows), kind, *state_->stream),
          op);
  // Pinned memory is read and written after the call returns: what ordinary memory promises anyway.
  if ((to_place == Place::host || from_place == Place::host) && (!staged || each_call_waits()))
    synchronize(op);
}

StagingRing& Device::staging() { return *state_->staging; }

void Device::synchronize(const char* op) { state_->stream->synchronize(op); }

void Device::run_captured(std::unique_ptr<CapturedGraph>& recording,
                          const std::function<void()>& work) {
  auto* graph = static_cast<Graph*>(recording.get());
  if (!graph || each_call_waits()) {
    if (!graph) recording = std::make_unique<Graph>();
    return work();
  }
  if (graph->workspace != state_->workspace) graph->reset();
  if (!graph->instance) {
    state_->records = true;
    try {
      graph->instance = recorded(*state_->stream, work);
    } catch (...) {
      state_->records = false;
      throw;
    }
    state_->records = false;
    graph->workspace = state_->workspace;
  }
  check(cudaGraphLaunch(graph->instance, *state_->stream), "run_captured");
}

void* Device::workspace(const char* op, std::int64_t bytes) {
  State& s = *state_;
  if (bytes <= s.workspace_bytes) return s.workspace;
  if (s.workspace) s.memory->release(s.workspace, s.workspace_bytes);
  s.workspace = nullptr;
  s.workspace_bytes = 0;
  try {
    s.workspace = s.memory->allocate(bytes);
  } catch (const Error& e) {
    fail(str(op, ": scratch memory: ", e.what()));
  }
  s.workspace_bytes = bytes;
  return s.workspace;
}

void check_launch(const char* op) {
  check(cudaGetLastError(), op);
  if (each_call_waits()) check(cudaDeviceSynchronize(), op);
}

void allow_shared_memory(const void* kernel, std::size_t bytes, const char* op) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), op);
}

}  // namespace lacuna
