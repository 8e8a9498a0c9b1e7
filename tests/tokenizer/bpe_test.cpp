#include "tokenizer/bpe.h"

#include <limits>
#include <numeric>

#include "tests/tokenizer/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Ids;

struct Merge {
  std::int32_t left, right, token;
};

// By the definition: the leftmost of the pairs of the lowest rank, one at a time.
Ids by_definition(const std::string& word, const std::vector<Merge>& merges) {
  Ids ids(word.begin(), word.end());
  for (;;) {
    std::size_t best = merges.size(), at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      for (std::size_t m = 0; m < best; ++m)
        if (ids[i] == merges[m].left && ids[i + 1] == merges[m].right) {
          best = m;
          at = i;
        }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].token;
    ids.erase(ids.begin() + std::ptrdiff_t(at) + 1);
  }
}

class BpeTest : public ::testing::Test {
 protected:
  // Merges of random tokens over the bytes a to d.
  static std::vector<Merge> random_merges(std::mt19937& random, int n) {
    std::vector<Merge> merges;
    Ids tokens{'a', 'b', 'c', 'd'};
    for (int i = 0; i < n; ++i) {
      const auto pick = [&] { return tokens[random() % tokens.size()]; };
      merges.push_back({pick(), pick(), 1000 + i});
      for (int k = 0; k < i; ++k)
        if (merges[k].left == merges.back().left && merges[k].right == merges.back().right) {
          merges.pop_back();
          break;
        }
      if (merges.back().token == 1000 + i) tokens.push_back(1000 + i);
    }
    return merges;
  }
  static Bpe make(const std::vector<Merge>& merges) {
    std::array<std::int32_t, 256> bytes{};
    std::iota(bytes.begin(), bytes.end(), 0);
    MergeTable table(merges.size());
    for (std::size_t m = 0; m < merges.size(); ++m)
      table.set(merges[m].left, merges[m].right, {std::int32_t(m), merges[m].token});
    return Bpe(bytes, std::move(table));
  }
};

TEST_F(BpeTest, EveryLengthAsDefined) {
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    const std::vector<Merge> merges = random_merges(random, 30);
    const Bpe bpe = make(merges);
    BpeScratch scratch;
    for (std::size_t length = 1; length < 100; ++length) {  // short, cached, and long words
      std::string word;
      for (std::size_t i = 0; i < length; ++i) word += char('a' + random() % 4);
      const Ids expected = by_definition(word, merges);
      for (int again = 0; again < 2; ++again) {  // the second time from memory
        Ids ids;
        bpe.encode(word, scratch, ids);
        ASSERT_EQ(ids, expected) << word;
      }
    }
  }
}

TEST_F(BpeTest, MillionsOfBytesInOneWord) {
  // Doubling: aa, aaaa … of 2^k bytes.
  std::vector<Merge> merges{{'a', 'a', 1000}};
  for (int k = 1; k < 12; ++k) merges.push_back({999 + k, 999 + k, 1000 + k});
  const Bpe bpe = make(merges);
  BpeScratch scratch;
  Ids ids;
  bpe.encode(std::string(4096 * 500 + 5, 'a'), scratch, ids);
  ASSERT_EQ(ids.size(), 502u);  // 500 of 4096, one of 4, one a
  EXPECT_EQ(ids[0], 1011);
  EXPECT_EQ(ids[500], 1001);
  EXPECT_EQ(ids[501], 'a');
}

TEST_F(BpeTest, WholeWordsComeFirst) {
  std::array<std::int32_t, 256> bytes{};
  std::iota(bytes.begin(), bytes.end(), 0);
  MergeTable table(1);
  table.set('b', 'c', {0, 300});
  const Bpe bpe(bytes, table, {{"abc", 301}});
  BpeScratch scratch;
  Ids ids;
  bpe.encode("abc", scratch, ids);
  bpe.encode("abca", scratch, ids);
  EXPECT_EQ(ids, (Ids{301, 'a', 300, 'a'}));
}

TEST_F(BpeTest, AByteWithoutATokenIsNamed) {
  std::array<std::int32_t, 256> bytes{};
  bytes[0xc0] = -1;
  const Bpe bpe(bytes, MergeTable());
  BpeScratch scratch;
  Ids ids;
  for (const std::size_t length : {1, 30, 100})
    EXPECT_TRUE(contains(error_of([&] { bpe.encode(std::string(length, '\xc0'), scratch, ids); }),
                         "byte 192"));
}

TEST(MergeTable, KeepsWhatItWasGiven) {
  MergeTable table(1000);
  for (std::int32_t i = 0; i < 1000; ++i) table.set(i, i * 7 % 50, {i, i + 1});
  table.set(5, 35, {7777, 8});
  for (std::int32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(table.find(i, i * 7 % 50).rank, i == 5 ? 7777 : i);
    EXPECT_FALSE(table.find(i, 51));
    EXPECT_FALSE(table.find(i + 1000, i));
  }
  EXPECT_FALSE(MergeTable().find(0, 0));
}

}  // namespace
}  // namespace lacuna
