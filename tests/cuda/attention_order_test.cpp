#include "kernels/cuda/attention_order.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

namespace lacuna::hopper {
namespace {

using Pair = std::pair<int, int>;  // slot, head

TEST(AttentionOrder, ItemsAreEveryTileOfEveryHead) {
  for (const int slots : {1, 2, 7})
    for (const int heads : {1, 6, 12})
      for (const int section : {1, 2, 3, 6}) {
        if (heads % section != 0) continue;
        const ItemOrder order{slots, section, slots * heads};
        std::set<Pair> items;
        for (int item = 0; item < order.count; ++item)
          items.insert({order.slot(item), order.head(item)});
        EXPECT_EQ(int(items.size()), slots * heads);
        EXPECT_EQ(*items.begin(), Pair(0, 0));
        EXPECT_EQ(*items.rbegin(), Pair(slots - 1, heads - 1));
      }
}

TEST(AttentionOrder, SectionsOfHeadsBeginWithTheLastTiles) {
  const ItemOrder order{3, 2, 12};
  const Pair expected[] = {{2, 0}, {2, 1}, {1, 0}, {1, 1}, {0, 0}, {0, 1},
                           {2, 2}, {2, 3}, {1, 2}, {1, 3}, {0, 2}, {0, 3}};
  for (int item = 0; item < 12; ++item)
    EXPECT_EQ(Pair(order.slot(item), order.head(item)), expected[item]);
}

// A block waits for earlier tickets alone: those of its head's earlier keys.
TEST(AttentionOrder, TicketsOfAHeadAscend) {
  for (const int slots : {1, 3, 10})
    for (const int heads : {1, 5, 8, 9, 20}) {
      const TicketOrder order{slots, heads};
      std::set<Pair> taken;
      std::vector<int> next(std::size_t(heads), 0);
      for (int ticket = 0; ticket < slots * heads; ++ticket) {
        const int head = order.head(ticket);
        ASSERT_TRUE(head >= 0 && head < heads);
        EXPECT_EQ(order.slot(ticket), next[std::size_t(head)]++);
        taken.insert({order.slot(ticket), head});
      }
      EXPECT_EQ(int(taken.size()), slots * heads);
    }
  const TicketOrder order{4, 10};  // eight heads, then two
  EXPECT_EQ(Pair(order.slot(0), order.head(0)), Pair(0, 0));
  EXPECT_EQ(Pair(order.slot(7), order.head(7)), Pair(0, 7));
  EXPECT_EQ(Pair(order.slot(8), order.head(8)), Pair(1, 0));
  EXPECT_EQ(Pair(order.slot(32), order.head(32)), Pair(0, 8));
  EXPECT_EQ(Pair(order.slot(35), order.head(35)), Pair(1, 9));
}

}  // namespace
}  // namespace lacuna::hopper
