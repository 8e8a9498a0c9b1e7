// kernels/platform/gpu/device.cpp and stream.cpp: what they ask of the CUDA runtime, in which
// order.
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/platform/device.h"
#include "kernels/platform/gemm.h"
#include "kernels/platform/intrinsics.h"
#include "kernels/platform/stream.h"
#include "tests/cuda/host/stand_ins.h"

namespace lacuna::testing {
namespace {

using toolkit::calls;

using DeviceHost = StandInTest;

__global__ void increments(int* x) { ++x[threadIdx.x]; }
__global__ void shuffles_outside_its_mask() { __shfl_sync(1u, 1, 0); }

std::string error_of_device(toolkit::Machine machine, int index = 0) {
  toolkit::start_machine(std::move(machine));
  return error_of([&] { Device device(index); });
}

TEST_F(DeviceHost, SaysWhyThereIsNone) {
  EXPECT_EQ(error_of_device({.driver = 0}),
            "cuda: there is no NVIDIA driver on this machine; use device \"cpu\"");
  EXPECT_EQ(
      error_of_device({.driver = 12040}),
      "cuda: the NVIDIA driver is for CUDA 12.4 but this program needs 13.0; update the driver");
  EXPECT_TRUE(contains(error_of_device({.devices = {}}), "cuda: there is no CUDA device; use"));
  EXPECT_EQ(error_of_device({}, 1), "cuda: there is no device 1; this process sees 1, device 0");
  EXPECT_EQ(error_of_device({.devices = {toolkit::sm_80(), toolkit::sm_90()}}, -1),
            "cuda: there is no device -1; this process sees 2, 0 to 1");
  auto old = toolkit::sm_80();
  old.major = 7;
  old.minor = 5;
  EXPECT_TRUE(contains(error_of_device({.devices = {old}}), "is of architecture sm_75; the"));
  toolkit::start_machine({.devices = {toolkit::sm_80(), toolkit::sm_90()}});
  EXPECT_EQ(Device::count(), 2);
}

TEST_F(DeviceHost, DescribesItself) {
  toolkit::start_machine({.devices = {toolkit::sm_80(), toolkit::sm_90()}});
  const Device second(1);
  EXPECT_EQ(second.description(), "cuda, stand-in of sm_90, 2 multiprocessors, sm_90");
  EXPECT_EQ(second.identity(), "f1e1d1c1b1a191817161514131211101");
  EXPECT_TRUE(second.has_wgmma());
  EXPECT_TRUE(second.has_fp8());
  EXPECT_EQ(second.shared_memory(), 227u * 1024 - kStaticSharedMemory);
  EXPECT_EQ(current_device(), 1);
  const Device first(0);
  EXPECT_FALSE(first.has_wgmma());
  EXPECT_FALSE(first.has_fp8());
  EXPECT_EQ(first.shared_memory(), 163u * 1024 - kStaticSharedMemory);
}

TEST_F(DeviceHost, SaysThatItHasNoCodeForTheDevice) {
  const auto* kernel = reinterpret_cast<const void*>(increments);
  for (const cudaError_t code : {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction,
                                 cudaErrorUnsupportedPtxVersion}) {
    toolkit::start_machine({.kernel_code = code});
    const Device device(0);
    EXPECT_TRUE(
        contains(error_of([&] { device.check_code(kernel); }),
                 "no code for the GPU: it was compiled for the architectures 80 90a-real, and "
                 "stand-in of sm_90 is sm_90; build it with "
                 "-DCMAKE_CUDA_ARCHITECTURES=90a"));
  }
  toolkit::start_machine();
  Device(0).check_code(kernel);
}

TEST_F(DeviceHost, MemoryIsZeroedOnItsStream) {
  Device device(0);
  std::vector<int> host(1000, 1);
  for (int turn = 0; turn < 10; ++turn) {
    void* memory = device.memory().allocate(4000);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 256, 0u);
    device.copy("an_op", host.data(), Place::host, 4000, memory, Place::device, 4000, 4000, 1);
    EXPECT_EQ(host, std::vector<int>(1000, 0));
    device.memory().release(memory, 4000);
  }
  device.memory().release(device.memory().allocate(0), 0);
}

TEST_F(DeviceHost, MemoryThatCannotBeHad) {
  auto small = toolkit::sm_90();
  small.memory = 64 << 20;
  toolkit::start_machine({.devices = {small}});
  Device device(0);
  void* some = device.memory().allocate(32 << 20);
  EXPECT_EQ(error_of([&] { device.memory().allocate(40 << 20); }),
            "cuda: cannot have 40.0 MiB of device memory; 32.0 MiB of 64.0 MiB are free");
  EXPECT_EQ(device.memory().available(), 32 << 20);
  EXPECT_TRUE(contains(error_of([&] { device.workspace("an_op", 40 << 20); }),
                       "an_op: scratch memory: cuda: cannot have 40.0 MiB"));
  check_launch("an_op");  // is not told of it again
  device.memory().release(some, 32 << 20);
}

/// Every way between places, in one row and several; what is given may be changed, what is asked
/// for read, as soon as the call returns: also of pinned memory.
TEST_F(DeviceHost, CopiesAreDoneWhereTheHostLooks) {
  Device device(0);
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 4096), cudaSuccess);
  std::vector<char> ordinary(4096);
  void *there = device.memory().allocate(8192), *other = device.memory().allocate(8192);
  for (char* host : {ordinary.data(), static_cast<char*>(pinned)})
    for (const std::int64_t rows : {1, 7})
      for (int turn = 0; turn < 10; ++turn) {
        const char fill = char('a' + turn);
        std::memset(host, fill, 4096);
        device.copy("an_op", there, Place::device, 1000, host, Place::host, 500, 400, rows);
        std::memset(host, '?', 4096);
        device.copy("an_op", other, Place::device, 600, there, Place::device, 1000, 400, rows);
        device.copy("an_op", host, Place::host, 450, other, Place::device, 600, 400, rows);
        for (std::int64_t row = 0; row < rows; ++row)
          EXPECT_EQ(std::string(host + row * 450, 450),
                    std::string(400, fill) + std::string(50, '?'));
      }
  device.copy("an_op", there, Place::device, 8, ordinary.data(), Place::host, 8, 8, 0);
  device.copy("an_op", there, Place::device, 0, ordinary.data(), Place::host, 0, 0, 1);
  device.memory().release(there, 8192);
  device.memory().release(other, 8192);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(DeviceHost, ErrorsNameTheOperation) {
  Device device(0);
  char host[8] = {};
  EXPECT_EQ(
      error_of([&] { device.copy("an_op", host, Place::device, 8, host, Place::host, 8, 8, 1); }),
      "an_op: invalid argument (cudaErrorInvalidValue)");
  EXPECT_TRUE(only_violation("the destination is not in device memory"));
  check_launch("another");
}

TEST_F(DeviceHost, TheWorkspaceGrows) {
  Device device(0);
  void* small = device.workspace("an_op", 1000);
  EXPECT_EQ(device.workspace("an_op", 10), small);
  void* large = device.workspace("an_op", 100000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % 256, 0u);
  EXPECT_EQ(device.workspace("an_op", 100000), large);
  EXPECT_EQ(calls("cudaMalloc"), 2);
  EXPECT_EQ(calls("cudaFree"), 1);
}

TEST_F(DeviceHost, LaunchesAskForSharedMemory) {
  Device device(0);
  auto* x = static_cast<int*>(device.memory().allocate(16));
  // With the static, 48 KiB are had for nothing.
  for (const std::size_t shared : {0, 47 * 1024}) {
    launch({"an_op", 1, 4, shared, device.stream()}, increments, x);
    EXPECT_EQ(calls("cudaFuncSetAttribute"), 0);
  }
  for (const std::size_t shared : {std::size_t{47 * 1024 + 1}, std::size_t{48 * 1024},
                                   std::size_t{49 * 1024}, device.shared_memory()})
    launch({"an_op", 1, 4, shared, device.stream()}, increments, x);
  EXPECT_EQ(calls("cudaFuncSetAttribute"), 4);
  EXPECT_EQ(error_of([&] {
              launch({"an_op", 1, 4, device.shared_memory() + 1, device.stream()}, increments, x);
            }),
            "an_op: invalid argument (cudaErrorInvalidValue)");
  EXPECT_TRUE(only_violation("a block can have 232448"));
  launch({"an_op", {0, 1, 1}, 4, 0, device.stream()}, increments, x);  // of no blocks: nothing
  std::vector<int> host(4);
  device.copy("an_op", host.data(), Place::host, 16, x, Place::device, 16, 16, 1);
  EXPECT_EQ(host, std::vector<int>(4, 6));
  EXPECT_TRUE(contains(error_of([&] {
                         launch({"an_op", 1, 2000, 0, device.stream()}, increments, x);
                       }),
                       "an_op: invalid configuration argument"));
  EXPECT_TRUE(only_violation("2000x1x1 threads"));
  device.memory().release(x, 16);
}

TEST_F(DeviceHost, AFaultOnTheDeviceIsThrown) {
  {
    Device device(0);
    launch({"an_op", 1, 64, 0, device.stream()}, shuffles_outside_its_mask);
    EXPECT_TRUE(contains(error_of([&] { device.synchronize("waits"); }),
                         "waits: unspecified launch failure (cudaErrorLaunchFailure)"));
    EXPECT_TRUE(only_violation("a lane is not in the mask it gave"));
    EXPECT_TRUE(contains(error_of([&] { check_launch("later"); }), "later: unspecified launch"));
  }
  EXPECT_EQ(toolkit::in_use(), "") << "it can still be destroyed";
}

/// A device, and sixteen integers there.
class Repeats : public StandInTest {
 protected:
  Repeats() : device(std::make_unique<Device>(0)) {
    numbers = static_cast<int*>(device->memory().allocate(64));
  }
  ~Repeats() override {
    recording.reset();
    device->memory().release(numbers, 64);
    device.reset();
  }
  void run_captured(const std::function<void()>& work) {
    device->run_captured(recording, [&] {
      ++worked;
      work();
    });
  }
  void increment() { launch({"an_op", 1, 16, 0, device->stream()}, increments, numbers); }
  int first() {
    int x = 0;
    device->copy("an_op", &x, Place::host, 4, numbers, Place::device, 4, 4, 1);
    return x;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<CapturedGraph> recording;
  int* numbers = nullptr;
  int worked = 0;
};

/// The first call works, the second records, the later ones launch what was recorded.
TEST_F(Repeats, ByAGraph) {
  for (int turn = 1; turn <= 5; ++turn) {
    run_captured([&] {
      increment();
      increment();
    });
    EXPECT_EQ(first(), 2 * turn);
    EXPECT_EQ(worked, std::min(turn, 2));
  }
  EXPECT_EQ(calls("cudaGraphLaunch"), 4);
  EXPECT_EQ(calls("cudaGraphInstantiate"), 1);
  recording.reset();
  run_captured([&] { increment(); });
  EXPECT_EQ(worked, 3);
  EXPECT_EQ(first(), 11);
}

TEST_F(Repeats, RecordsAgainWhenTheWorkspaceHasMoved) {
  const auto work = [&] {
    auto* scratch = static_cast<int*>(device->workspace("an_op", 64));
    launch({"an_op", 1, 16, 0, device->stream()}, increments, scratch);
    increment();
  };
  for (int turn = 0; turn < 3; ++turn) run_captured(work);
  EXPECT_EQ(worked, 2);
  device->workspace("another", 1 << 20);
  for (int turn = 0; turn < 3; ++turn) run_captured(work);
  EXPECT_EQ(worked, 3);
  EXPECT_EQ(first(), 6);
}

/// Work that cannot be recorded: the reason is reported once, and everything goes on.
TEST_F(Repeats, TellsWhyWorkCannotBeRecorded) {
  char host[4] = {};
  const struct {
    const char *error, *violation;
    std::function<void()> work;
  } cases[] = {
      {"waits: ", "cudaStreamSynchronize: the stream captures",
       [&] { device->synchronize("waits"); }},
      {"cuda: allocate: ", "cudaMalloc: not permitted while a stream captures",
       [&] { device->memory().allocate(4); }},
      {"scratch memory: cuda: allocate: ", "cudaMalloc: not permitted while a stream captures",
       [&] { device->workspace("an_op", 1 << 20); }},
      {"copies: ", "pageable memory cannot be copied",
       [&] { device->copy("copies", numbers, Place::device, 4, host, Place::host, 4, 4, 1); }},
      {"cudaEventQuery: ", "recorded in a capture",
       [&] { (void)Event(device->stream(), Event::Kind::order).reached(); }},
      {"own error", "", [] { fail("own error"); }},
  };
  int expected = 0;
  for (const auto& [error, violation, work] : cases) {
    recording.reset();
    run_captured([&] { increment(); });
    EXPECT_TRUE(contains(error_of([&] {
                           run_captured([&] {
                             increment();
                             work();
                           });
                         }),
                         error));
    if (*violation) {
      EXPECT_TRUE(only_violation(violation));
    }
    check_launch("later");  // nobody else is blamed
    run_captured([&] { increment(); });
    run_captured([&] { increment(); });
    expected += 3;
    EXPECT_EQ(first(), expected) << violation;
  }
}

TEST_F(Repeats, ProductsToo) {
  GemmRunner products(*device, false);
  auto* x = static_cast<float*>(device->memory().allocate(3 * 256));
  const float ones[64] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  float y[4] = {};
  device->copy("an_op", x, Place::device, 256, ones, Place::host, 256, 256, 1);
  device->copy("an_op", x + 64, Place::device, 256, ones, Place::host, 256, 256, 1);
  const Gemm p{false, false, 8, 8, 8, x, 8, x + 64, 8, x + 128, 8, DType::f32, DType::f32, true};
  for (int turn = 1; turn <= 4; ++turn) {
    run_captured([&] { products.multiply("an_op", p); });
    device->copy("an_op", y, Place::host, 4, x + 128, Place::device, 4, 4, 1);
    EXPECT_EQ(y[0], float(turn));
  }
  EXPECT_EQ(calls("cublasLtMatmul"), 2);
  device->memory().release(x, 3 * 256);
}

// --- streams and events --------------------------------------------------------------------------

/// An event that is not reached yet is no error of the next launch.
TEST_F(DeviceHost, AskingForAnEventLeavesNoError) {
  Device device(0);
  auto* x = static_cast<int*>(device.memory().allocate(64));
  int early = 0;
  for (int turn = 0; turn < 20; ++turn) {
    launch({"an_op", 1, 16, 0, device.stream()}, increments, x);
    const Event event(device.stream(), Event::Kind::order);
    early += !event.reached();
    launch({"an_op", 1, 16, 0, device.stream()}, increments, x);
    event.wait();
    EXPECT_TRUE(event.reached());
  }
  EXPECT_GT(early, 0);
  device.memory().release(x, 64);
}

TEST_F(DeviceHost, EventsMove) {
  const Stream stream(Stream::Purpose::communication);
  Event a(stream, Event::Kind::time);
  Event b(std::move(a));
  Event c(stream, Event::Kind::time);
  c = std::move(b);
  c.wait();
  EXPECT_EQ(calls("cudaEventCreateWithFlags"), 2);
}

}  // namespace
}  // namespace lacuna::testing
