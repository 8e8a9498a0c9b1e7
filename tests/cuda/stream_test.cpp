// Two streams of one device: those of two CudaOps.
#include "kernels/platform/stream.h"

#include <gtest/gtest.h>

#include "tests/cuda/support.h"

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
  int right_rounds(int rounds, bool read_after_write, bool overwrite_after_read) {
    const DeviceArray x(*first, {1000}, DType::f32), y(*first, {1000}, DType::f32),
        one(*first, {1000}, std::vector<float>(1000, 1.0f)),
        two(*first, {1000}, std::vector<float>(1000, 2.0f));
    int right = 0;
    for (int i = 0; i < rounds; ++i) {
      first->copy(x, one);
      if (read_after_write) Event(first->stream(), Event::Kind::order).before(second->stream());
      second->copy(y, x);
      if (overwrite_after_read) Event(second->stream(), Event::Kind::order).before(first->stream());
      first->copy(x, two);
      second->synchronize();
      right += y.read_as<float>()[999] == 1.0f;
    }
    return right;
  }
  std::unique_ptr<CudaOps> first, second;
};

TEST_F(Streams, AreOrderedByEvents) { EXPECT_EQ(right_rounds(100, true, true), 100); }

#if !defined(LACUNA_CUDA) && !defined(__SANITIZE_THREAD__)  // which sees the races, too
// What makes tests with the emulator worth something: a missing event is not always harmless, and
// not always harmful.
TEST_F(Streams, AMissingEventShows) {
  for (const bool reader_waits : {true, false}) {
    const int right = right_rounds(100, reader_waits, !reader_waits);
    EXPECT_GT(right, 0) << reader_waits;
    EXPECT_LT(right, 100) << reader_waits;
  }
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
