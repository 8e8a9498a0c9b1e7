#include "core/arena.h"

#include "core/machine.h"
#include "tests/support/counting_memory.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

std::uintptr_t address(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.data); }

TEST(Arena, HoldsEveryTensorAligned) {
  Plan plan;
  const Slot a = plan.add("weights/a", {3, 5}), b = plan.add("weights/b", {7}, DType::u8),
             c = plan.add("ids/c", {2, 2, 2, 2}, DType::i64), none = plan.add("ids/none", {0, 4});
  EXPECT_EQ(plan.bytes(), 64 + 64 + 128);
  const Arena arena(host_memory(), plan);
  EXPECT_EQ(arena[a].shape, (Shape{3, 5}));
  EXPECT_EQ(arena[b].dtype, DType::u8);
  EXPECT_EQ(arena[c].count(), 16);
  EXPECT_EQ(arena[none].count(), 0);
  EXPECT_EQ(arena[a].place, Place::host);
  for (const Slot s : {a, b, c}) EXPECT_EQ(address(arena[s]) % 64, 0u);
  EXPECT_EQ(address(arena[b]) - address(arena[a]), 64u);
  EXPECT_EQ(address(arena[c]) - address(arena[b]), 64u);
}

TEST(Arena, StartsAsZerosAndKeepsWhatIsWritten) {
  Plan plan;
  const Slot a = plan.add("x/a", {1000, 1000}), b = plan.add("x/b", {5}, DType::f64);
  const Arena arena(host_memory(), plan);
  for (std::int64_t i = 0; i < arena[a].count(); i += 4999) EXPECT_EQ(arena[a].as<float>()[i], 0);
  arena[a].as<float>()[999999] = 4;
  arena[b].as<double>()[0] = 5;
  EXPECT_EQ(arena[a].as<float>()[999999], 4);
  EXPECT_EQ(arena[b].as<double>()[0], 5);
}

TEST(Arena, GivesItsMemoryBack) {
  CountingMemory memory(Place::device);
  Plan plan;
  const Slot a = plan.add("x/a", {100});
  {
    const Arena arena(memory, plan);
    EXPECT_EQ(memory.held, plan.bytes());
    EXPECT_EQ(arena[a].place, Place::device);
  }
  EXPECT_EQ(memory.held, 0);
}

TEST(Arena, OfNothingTakesNothing) {
  CountingMemory memory(Place::device);
  const Arena arena(memory, Plan());
  EXPECT_EQ(memory.held, 0);
}

TEST(Arena, SaysWhatDidNotFit) {
  Plan plan;
  plan.add("weights/huge", {std::int64_t{1} << 29, std::int64_t{1} << 27});
  plan.add("gradients/small", {10});
  const std::string message = error_of([&] { const Arena arena(host_memory(), plan); });
  EXPECT_TRUE(contains(message, "out of memory: 256.0 PiB are needed"));
  EXPECT_TRUE(contains(message, "the first to find no room is weights/huge [536870912,134217728]"));
  EXPECT_TRUE(contains(message, "weights: 256.0 PiB"));
  EXPECT_TRUE(contains(message, "gradients/small [10] f32: 40 B"));
}

TEST(Arena, ProcessesOfARunShareTheMachine) {
  const std::int64_t all = host_memory().available();
  share_machine(4);
  EXPECT_EQ(host_memory().available(), all / 4);
  Plan plan;
  plan.add("weights", {all / 4 / 2});  // twice its part
  EXPECT_TRUE(contains(error_of([&] { const Arena arena(host_memory(), plan); }),
                       " can be used here by each of 4 processes"));
  share_machine(1);
  EXPECT_EQ(host_memory().available(), all);
}

TEST(Plan, AliasesShareMemory) {
  Plan plan;
  const Slot base = plan.add("x/base", {4, 4}),
             other = plan.alias(base, "x/other", {8}, DType::i64);
  EXPECT_EQ(plan.bytes(), 64);
  EXPECT_TRUE(plan[other].alias);
  const Arena arena(host_memory(), plan);
  EXPECT_EQ(arena[base].data, arena[other].data);
  EXPECT_EQ(arena[other].dtype, DType::i64);
  EXPECT_EQ(error_of([&] { plan.alias(base, "x/long", {17}); }),
            "plan: x/long [17] does not fit into x/base [4,4]");
}

TEST(Plan, TableSumsByKindAndNamesTheLargest) {
  Plan plan;
  const Slot big = plan.add("weights/big", {1024, 1024});
  plan.add("weights/small", {256});
  plan.add("activations/x", {512, 1024}, DType::bf16);
  plan.alias(big, "scratch/y", {10});
  const std::string table = plan.table();
  EXPECT_TRUE(contains(table, "weights: 4.00 MiB"));
  EXPECT_TRUE(contains(table, "activations: 1.00 MiB"));
  EXPECT_FALSE(contains(table, "scratch")) << "an alias takes nothing";
  EXPECT_TRUE(contains(table, "weights/big [1024,1024] f32: 4.00 MiB"));
  EXPECT_TRUE(contains(table, "total: 5.00 MiB"));
  EXPECT_LT(table.find("weights/big"), table.find("activations/x"));
  EXPECT_LT(table.find("activations/x"), table.find("weights/small"));
}

TEST(Plan, KnowsItsSlots) {
  Plan plan;
  const Slot none;
  EXPECT_FALSE(none);
  EXPECT_TRUE(bool(plan.add("x/a", {1})));
  EXPECT_EQ(error_of([&] { plan[none]; }), "plan: no slot -1");
  EXPECT_EQ(error_of([&] { plan[Slot{1}]; }), "plan: no slot 1");
}

// Each would fit alone. Nothing is touched, so the pages cost nothing.
TEST(Arena, CountsWhatOthersHold) {
  const std::int64_t most = usable_memory() / 4 * 3 / 64 * 64;
  Plan plan;
  plan.add("weights/w", {most}, DType::u8);
  {
    const Arena first(host_memory(), plan);
    const std::string message = error_of([&] { const Arena second(host_memory(), plan); });
    EXPECT_TRUE(contains(message, "held already"));
    EXPECT_TRUE(contains(message, "weights/w"));
  }
  const Arena after(host_memory(), plan);
}

}  // namespace
}  // namespace lacuna::testing
