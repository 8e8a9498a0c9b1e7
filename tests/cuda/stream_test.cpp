// Two streams of one device: those of two CudaOps.
#include "kernels/platform/stream.h"

#include <gtest/gtest.h>

#include "tests/cuda/support.h"
#ifndef LACUNA_CUDA
#include <chrono>
#include <future>
#include <utility>

#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/queue.h"
#include "kernels/platform/staging_ring.h"
#endif

namespace lacuna {
namespace {

using testing::DeviceArray;

class Streams : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      first = std::make_unique<CudaOps>();
      second = std::make_unique<CudaOps>();
    } catch (const Error& e) {
      GTEST_SKIP() << e.what();
    }
  }
  /// Writes on one stream what the other then reads, again and again. How many rounds were right.
  int right_rounds(int rounds) {
    const DeviceArray x(*first, {1000}, DType::f32), y(*first, {1000}, DType::f32),
        one(*first, {1000}, std::vector<float>(1000, 1.0f)),
        two(*first, {1000}, std::vector<float>(1000, 2.0f));
    int right = 0;
    for (int i = 0; i < rounds; ++i) {
      first->copy(x, one);
      Event(first->stream(), Event::Kind::order).before(second->stream());
      second->copy(y, x);
      Event(second->stream(), Event::Kind::order).before(first->stream());
      first->copy(x, two);
      second->synchronize();
      right += y.read_as<float>()[999] == 1.0f;
    }
    return right;
  }
  std::unique_ptr<CudaOps> first, second;
};

TEST_F(Streams, AreOrderedByEvents) { EXPECT_EQ(right_rounds(100), 100); }

#ifndef LACUNA_CUDA
/// Keeps what is queued on a stream afterwards from beginning, until released.
class Hold {
 public:
  explicit Hold(CUstream_st* stream) {
    emulator::enqueue(stream, [opened = opened_.get_future().share()] { opened.wait(); });
  }
  ~Hold() { release(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  void release() {
    if (!std::exchange(released_, true)) opened_.set_value();
  }

 private:
  std::promise<void> opened_;
  bool released_ = false;
};

// What makes tests with the emulator worth something: streams do not wait for each other, so that a
// missing event gives wrong numbers.
TEST_F(Streams, OneRunsWhileTheOtherIsHeld) {
  const DeviceArray x(*first, {1000}, std::vector<float>(1000, 1.0f)),
      y(*first, {1000}, std::vector<float>(1000, 2.0f)), z(*second, {1000}, DType::f32);
  first->synchronize();
  Hold hold(first->stream());
  first->copy(x, y);
  second->copy(z, x);
  second->synchronize();
  EXPECT_EQ(z.read_as<float>()[999], 1.0f);
  hold.release();
  first->synchronize();
  EXPECT_EQ(x.read_as<float>()[999], 2.0f);
}

TEST_F(Streams, AnEventMakesTheOtherWaitForWhatIsHeld) {
  const DeviceArray x(*first, {1000}, std::vector<float>(1000, 1.0f)),
      y(*first, {1000}, std::vector<float>(1000, 2.0f)), z(*first, {1000}, DType::f32);
  first->synchronize();
  Hold hold(first->stream());
  first->copy(x, y);
  const Event copied(first->stream(), Event::Kind::order);
  copied.before(second->stream());
  second->copy(z, x);
  const Event done(second->stream(), Event::Kind::order);
  EXPECT_FALSE(copied.reached());
  EXPECT_FALSE(done.reached());
  hold.release();
  second->synchronize();
  EXPECT_TRUE(copied.reached());
  EXPECT_EQ(z.read_as<float>()[999], 2.0f);
}

// The transfer of the next micro-batch, while the device is not done with this one.
TEST_F(Streams, ATransferDoesNotWaitForEarlierWork) {
  StagingRing ring(first->stream(), first->memory());
  ring.send("test", ring.transfer(64));  // allocates, which waits
  first->synchronize();
  Hold hold(first->stream());
  const StagingRing::Transfer transfer = ring.transfer(sizeof(float));
  *reinterpret_cast<float*>(transfer.host) = 3;
  ring.send("test", transfer);
  const Tensor there(const_cast<std::byte*>(transfer.device), {1}, DType::f32, Place::device);
  float found = 0;
  const auto begin = std::chrono::steady_clock::now();
  while (found != 3 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(30)) {
    second->copy(Tensor(&found, {1}), there);
    second->synchronize();
  }
  EXPECT_EQ(found, 3);
  hold.release();
  first->synchronize();
}

TEST_F(Streams, WorkAfterATransferWaitsForIt) {
  StagingRing ring(first->stream(), first->memory());
  const DeviceArray x(*first, {1}, DType::f32);
  for (int i = 0; i < 200; ++i) {
    const StagingRing::Transfer transfer = ring.transfer(sizeof(float));
    *reinterpret_cast<float*>(transfer.host) = float(i);
    ring.send("test", transfer);
    first->copy(x, Tensor(const_cast<std::byte*>(transfer.device), {1}, DType::f32, Place::device));
    first->synchronize();
    ASSERT_EQ(x.read_as<float>()[0], float(i));
  }
}

// An idle stream begins at once or as late as it may, by a coin.
TEST_F(Streams, SomeStartLate) {
  const DeviceArray x(*first, {1000}, std::vector<float>(1000, 1.0f)),
      y(*first, {1000}, DType::f32);
  first->synchronize();
  const std::int64_t before = emulator::counters.late_starts;
  constexpr int kRounds = 64;  // all alike: once in 2^63
  for (int i = 0; i < kRounds; ++i) {
    first->copy(y, x);
    first->synchronize();
  }
  const std::int64_t late = emulator::counters.late_starts - before;
  EXPECT_GT(late, 0);
  EXPECT_LT(late, kRounds);
}
#endif

TEST_F(Streams, EventsTellTheTime) {
  const DeviceArray x(*first, {1000}, DType::f32);
  const Event begin(first->stream(), Event::Kind::time);
  first->fill(x, 1);
  const Event middle(first->stream(), Event::Kind::time);
  first->fill(x, 2);
  const Event end(first->stream(), Event::Kind::time);
  end.wait();
  EXPECT_TRUE(begin.reached() && middle.reached() && end.reached());
  EXPECT_GT(middle.seconds_since(begin), 0);
  EXPECT_GT(end.seconds_since(middle), 0);
  EXPECT_NEAR(end.seconds_since(begin), middle.seconds_since(begin) + end.seconds_since(middle),
              1e-5);
}

}  // namespace
}  // namespace lacuna
