#include "core/parallel.h"

#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

using Ranges = std::vector<std::pair<std::int64_t, std::int64_t>>;

Ranges ranges(ThreadPool& pool, std::int64_t n, std::int64_t grain) {
  Ranges found;
  std::mutex mutex;
  pool.for_ranges(n, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    found.emplace_back(begin, end);
  });
  std::sort(found.begin(), found.end());
  return found;
}

TEST(ThreadPool, RunsEachPartOnAThreadOfItsOwn) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int repeat = 0; repeat < 100; ++repeat) {
      std::vector<int> calls(static_cast<std::size_t>(threads));
      std::vector<std::thread::id> ids(static_cast<std::size_t>(threads));
      pool.run([&](int i) {
        ++calls[std::size_t(i)];
        ids[std::size_t(i)] = std::this_thread::get_id();
      });
      EXPECT_EQ(calls, std::vector<int>(std::size_t(threads), 1));
      EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), std::size_t(threads));
      EXPECT_EQ(ids[0], std::this_thread::get_id()) << "the caller is part of the team";
    }
  }
}

TEST(ThreadPool, SeesWhatWasWrittenBeforeAndShowsWhatItWrote) {
  ThreadPool pool(3);
  std::vector<std::int64_t> sums(3);
  std::int64_t input = 0;
  for (int repeat = 0; repeat < 300; ++repeat) {
    input = repeat;
    pool.run([&](int i) { sums[std::size_t(i)] = input + i; });
    ASSERT_EQ(std::accumulate(sums.begin(), sums.end(), std::int64_t{0}), 3 * repeat + 3);
  }
}

TEST(ThreadPool, WakesThreadsThatFellAsleep) {
  ThreadPool pool(2);
  for (int repeat = 0; repeat < 3; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> calls = 0;
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, 2);
  }
}

TEST(ThreadPool, RethrowsAndGoesOn) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int thrower = 0; thrower < threads; ++thrower) {
      std::atomic<int> finished = 0;
      const auto task = [&](int i) {
        if (i == thrower) throw std::runtime_error("part " + std::to_string(i));
        ++finished;
      };
      EXPECT_THROW(
          try { pool.run(task); } catch (const std::runtime_error& e) {
            EXPECT_EQ(e.what(), "part " + std::to_string(thrower));
            throw;
          },
          std::runtime_error);
      EXPECT_EQ(finished, threads - 1) << "the others finish first";
    }
    EXPECT_THROW(pool.run([](int) { fail("everyone"); }), Error);
    std::atomic<int> calls = 0;
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, threads) << "after an exception the pool works as before";
  }
}

TEST(ThreadPool, RangesCoverEverythingOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const std::int64_t n : {1, 2, 7, 63, 64, 65, 1000}) {
      for (const std::int64_t grain : {1, 3, 64, 2000}) {
        SCOPED_TRACE(str(n, " by ", grain, " on ", threads));
        const Ranges r = ranges(pool, n, grain);
        ASSERT_LE(r.size(), std::size_t(threads));
        std::int64_t at = 0;
        for (const auto& [begin, end] : r) {
          EXPECT_EQ(begin, at);
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % grain, 0);
          at = end;
        }
        EXPECT_EQ(at, n);
        EXPECT_EQ(r, ranges(pool, n, grain)) << "the cut is always the same";
      }
    }
  }
}

TEST(ThreadPool, RangesAreEven) {
  ThreadPool pool(4);
  for (const auto& [begin, end] : ranges(pool, 1003, 1)) {
    EXPECT_GE(end - begin, 250);
    EXPECT_LE(end - begin, 251);
  }
}

TEST(ThreadPool, NoRangesOfNothing) {
  ThreadPool pool(2);
  EXPECT_TRUE(ranges(pool, 0, 8).empty());
  EXPECT_TRUE(ranges(pool, -3, 8).empty());
}

TEST(ThreadPool, RangesPassOnExceptions) {
  ThreadPool pool(3);
  EXPECT_EQ(error_of([&] {
              pool.for_ranges(300, 1, [](std::int64_t begin, std::int64_t) {
                if (begin > 0) fail("a later range");
              });
            }),
            "a later range");
}

TEST(ThreadPool, ItemsAreTakenOnceEach) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const std::int64_t n : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(n));
      pool.for_each(n, [&](std::int64_t i, int thread) {
        EXPECT_TRUE(thread >= 0 && thread < threads);
        ++calls[std::size_t(i)];
      });
      for (const auto& c : calls) EXPECT_EQ(c, 1);
    }
    EXPECT_EQ(error_of([&] {
                pool.for_each(10, [](std::int64_t i, int) { CHECK(i != 4, "item ", i); });
              }),
              "item 4");
  }
}

TEST(ThreadPool, OfManyThreadsOnFewCores) {
  ThreadPool pool(16);
  std::atomic<std::int64_t> sum = 0;
  for (int repeat = 0; repeat < 50; ++repeat)
    pool.for_ranges(160, 1, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 50 * 160);
}

TEST(ThreadPool, EndsWithoutHavingRun) {
  for (int i = 0; i < 20; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace lacuna::testing
