#include "core/machine.h"

#include <sched.h>
#include <sys/resource.h>

#include <thread>

#include "core/parallel.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

namespace fs = std::filesystem;

class Groups {
 public:
  explicit Groups(const std::string& membership) { folder_.write("membership", membership); }
  void write(const std::string& file, const std::string& content) {
    fs::create_directories(fs::path(folder_ / file).parent_path());
    folder_.write(file, content);
  }
  GroupLimits limits() const { return read_group_limits(folder_ / "", folder_ / "membership"); }

 private:
  Folder folder_;
};

TEST(GroupLimits, OfVersionTwo) {
  Groups groups("0::/job/step\n");
  EXPECT_FALSE(groups.limits().cores || groups.limits().memory);
  groups.write("job/step/cpu.max", "max 100000\n");
  groups.write("job/step/memory.max", "max\n");
  EXPECT_FALSE(groups.limits().cores || groups.limits().memory);
  groups.write("job/step/cpu.max", "250000 100000\n");
  groups.write("job/step/memory.max", "1073741824\n");
  EXPECT_EQ(groups.limits().cores, 2.5);
  EXPECT_EQ(groups.limits().memory, 1 << 30);
}

TEST(GroupLimits, OfAGroupAroundIt) {
  Groups groups("0::/job/step\n");
  groups.write("job/step/cpu.max", "800000 100000\n");
  groups.write("job/cpu.max", "300000 100000\n");
  groups.write("memory.max", "5000\n");
  EXPECT_EQ(groups.limits().cores, 3.0);
  EXPECT_EQ(groups.limits().memory, 5000);
}

TEST(GroupLimits, OfVersionOne) {
  Groups groups("5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n3:cpuset:/\n");
  groups.write("cpu/docker/a/cpu.cfs_quota_us", "-1\n");
  groups.write("cpu/docker/a/cpu.cfs_period_us", "100000\n");
  groups.write("memory/docker/a/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(groups.limits().cores || groups.limits().memory);
  groups.write("cpu/docker/a/cpu.cfs_quota_us", "150000\n");
  groups.write("memory/docker/a/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(groups.limits().cores, 1.5);
  EXPECT_EQ(groups.limits().memory, 4096);
}

TEST(GroupLimits, NoneWithoutControlGroups) {
  const GroupLimits limits = read_group_limits("/nowhere", "/nowhere/at/all");
  EXPECT_FALSE(limits.cores || limits.memory);
  Groups groups("nonsense\n0::/a\n");
  groups.write("a/cpu.max", "many few\n");
  EXPECT_FALSE(groups.limits().cores);
}

TEST(Machine, CountsTheCoresOfTheAffinityMask) {
  // In a thread of its own: the mask is a thread's.
  std::thread([] {
    cpu_set_t all, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    EXPECT_GE(usable_cores(), 1);
    EXPECT_LE(usable_cores(), CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
      if (CPU_ISSET(core, &all)) CPU_SET(core, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_cores(), 1);
    EXPECT_EQ(ThreadPool().size(), 1);
  }).join();
}

// What the kernel and the control group say, read another way.
TEST(Machine, HasItsMemoryOrItsControlGroups) {
  std::ifstream file("/proc/meminfo");
  std::int64_t kilobytes = 0;
  for (std::string name, unit; file >> name;) {
    std::int64_t value = 0;
    if (!(file >> value)) break;
    std::getline(file, unit);
    if (name == "MemTotal:" || name == "SwapTotal:") kilobytes += value;
  }
  ASSERT_GT(kilobytes, 0);
  const std::int64_t memory = kilobytes * 1024;
  EXPECT_EQ(usable_memory(), std::min(memory, read_group_limits().memory.value_or(memory)));
}

// Not under sanitizers, which take a multiple of the memory.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Machine, TheProcessHasLimitsOfItsOwn) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  const std::int64_t half = usable_memory() / 2;
  const rlimit less{rlim_t(half), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &less), 0);
  EXPECT_EQ(usable_memory(), half);
  setrlimit(RLIMIT_DATA, &before);
}
#endif

}  // namespace
}  // namespace lacuna::testing
