#include "data/loader.h"

#include <algorithm>
#include <numeric>
#include <thread>

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::write_counting;

// A corpus of 1003 tokens, each its own position.
class LoaderTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t kTokens = 1003, kLength = 16, kWindows = 62;

  LoaderTest() { write_counting(folder_ / "t.h5", {500, 1, 502}, 2000); }

  static std::vector<std::int32_t> batch(const Loader& loader, std::int64_t first,
                                         std::int64_t count) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(count * loader.sequence_length()));
    loader.batch(first, count, Tensor(out.data(), Shape{count, loader.sequence_length()}));
    return out;
  }
  static std::vector<std::int32_t> validation(const Loader& loader, std::int64_t first,
                                              std::int64_t count, std::int64_t wanted) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(count * loader.sequence_length()));
    loader.validation_batch(first, count, wanted,
                            Tensor(out.data(), Shape{count, loader.sequence_length()}));
    return out;
  }

  Folder folder_;
};

TEST_F(LoaderTest, EpochDealsEveryWindowOnce) {
  const TokenFile file(folder_ / "t.h5");
  const Loader loader(file, kLength, 1);
  ASSERT_EQ(loader.windows(), kWindows);
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::int64_t> starts;
    std::vector<int> seen(kTokens, 0);
    for (std::int64_t i = 0; i < kWindows; ++i) {
      const std::int64_t index = epoch * kWindows + i;
      EXPECT_EQ(loader.epoch(index), epoch);
      starts.push_back(loader.start(index));
      const auto tokens = batch(loader, index, 1);
      for (std::int64_t k = 0; k < kLength; ++k) {
        EXPECT_EQ(tokens[std::size_t(k)], (loader.start(index) + k) % kTokens);
        ++seen[std::size_t(tokens[std::size_t(k)])];
      }
    }
    EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), 0), kWindows * kLength);
    EXPECT_EQ(*std::max_element(seen.begin(), seen.end()), 1);  // so 11 tokens were left out
    EXPECT_FALSE(std::is_sorted(starts.begin(), starts.end()));
  }
}

TEST_F(LoaderTest, OrderDependsOnSeedAndEpochAlone) {
  const TokenFile file(folder_ / "t.h5");
  const Loader one(file, kLength, 1), again(file, kLength, 1), two(file, kLength, 2);
  EXPECT_EQ(batch(one, 0, kWindows), batch(again, 0, kWindows));
  EXPECT_NE(batch(one, 0, kWindows), batch(two, 0, kWindows));
  EXPECT_NE(batch(one, 0, kWindows), batch(one, kWindows, kWindows));
  // The grids of two epochs have different phases.
  EXPECT_NE(one.start(0) % kLength, one.start(kWindows) % kLength);
}

TEST_F(LoaderTest, AnySplitOfABatchGivesTheSameSamples) {
  const TokenFile file(folder_ / "t.h5");
  const Loader loader(file, kLength, 5);
  const std::int64_t n = 3 * kWindows + 7;  // over the ends of epochs
  const auto whole = batch(loader, 0, n);
  for (const std::int64_t size : {1, 3, 8, 61, 64}) {
    std::vector<std::int32_t> parts;
    for (std::int64_t first = 0; first < n; first += size) {
      const auto part = batch(loader, first, std::min(size, n - first));
      parts.insert(parts.end(), part.begin(), part.end());
    }
    EXPECT_EQ(parts, whole) << size;
  }
}

TEST_F(LoaderTest, ResumesInTheMiddleOfAnEpoch) {
  const TokenFile file(folder_ / "t.h5");
  const auto whole = batch(Loader(file, kLength, 5), 0, 200);
  const TokenFile reopened(folder_ / "t.h5");
  const auto rest = batch(Loader(reopened, kLength, 5), 97, 103);
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + 97 * kLength));
}

TEST_F(LoaderTest, ThreadsReadAtTheSameTime) {
  const TokenFile file(folder_ / "t.h5");
  const Loader loader(file, kLength, 5);
  const auto expected = batch(loader, 0, 150);
  std::vector<std::vector<std::int32_t>> got(8);
  std::vector<std::thread> threads;
  for (auto& tokens : got) threads.emplace_back([&] { tokens = batch(loader, 0, 150); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& tokens : got) EXPECT_EQ(tokens, expected);
}

TEST_F(LoaderTest, WindowAsLongAsTheCorpus) {
  const TokenFile file(folder_ / "t.h5");
  const Loader loader(file, kTokens, 1);
  EXPECT_EQ(loader.windows(), 1);
  auto tokens = batch(loader, 3, 1);
  std::sort(tokens.begin(), tokens.end());
  for (std::int32_t i = 0; i < kTokens; ++i) ASSERT_EQ(tokens[std::size_t(i)], i);
}

TEST_F(LoaderTest, ValidationIsEvenlySpaced) {
  const TokenFile file(folder_ / "t.h5");
  const Loader loader(file, kLength, 1);
  EXPECT_EQ(loader.validation_windows(4), 4);
  EXPECT_EQ(loader.validation_windows(1000), kWindows);
  const auto rows = validation(loader, 0, 4, 4);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t k = 0; k < kLength; ++k)
      EXPECT_EQ(rows[std::size_t(i * kLength + k)], i * kWindows / 4 * kLength + k);
  // Neither the seed nor the cut into batches changes them.
  const Loader other(file, kLength, 99);
  const auto last = validation(other, 3, 1, 4);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), rows.begin() + 3 * kLength));
  EXPECT_EQ(validation(loader, 0, kWindows, 1000).back(), kWindows * kLength - 1);
}

TEST_F(LoaderTest, SaysWhatIsWrong) {
  const TokenFile file(folder_ / "t.h5");
  const std::string error = error_of([&] { Loader(file, 1004, 1); });
  EXPECT_TRUE(contains(error, "t.h5: holds 1,003 tokens, fewer than one sequence of 1004"));
  EXPECT_TRUE(contains(error_of([&] { Loader(file, 0, 1); }), "data.sequence_length is 0"));
  const Loader loader(file, kLength, 1);
  std::vector<std::int32_t> out(64);
  EXPECT_TRUE(contains(error_of([&] {
                         loader.batch(0, 3, Tensor(out.data(), Shape{4, 16}));
                       }),
                       "a batch of [3,16] does not fit a tensor [4,16] i32"));
  EXPECT_TRUE(contains(error_of([&] {
                         loader.batch(-1, 4, Tensor(out.data(), Shape{4, 16}));
                       }),
                       "sample -1"));
  EXPECT_TRUE(contains(error_of([&] {
                         loader.validation_batch(2, 4, 5, Tensor(out.data(), Shape{4, 16}));
                       }),
                       "row 5 of a validation set of 5"));
}

}  // namespace
}  // namespace lacuna
