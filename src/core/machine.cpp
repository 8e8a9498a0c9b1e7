#include "core/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

std::atomic<int> processes = 1;

template <class T>
void tighten(std::optional<T>& limit, T value) {
  limit = limit ? std::min(*limit, value) : value;
}

/// The first words of a small file, each a number; fewer where one is not ("max", or no file).
std::optional<double> read_number(std::ifstream& in) {
  double value = 0;
  if (in >> value) return value;
  return {};
}
std::optional<double> read_number(const fs::path& file) {
  std::ifstream in(file);
  return read_number(in);
}

void read_group(const fs::path& folder, GroupLimits& limits) {
  std::ifstream cpu(folder / "cpu.max");  // version 2: "200000 100000" or "max 100000"
  std::optional<double> quota = read_number(cpu), period = read_number(cpu);
  if (!quota) {  // version 1: -1 where there is none
    quota = read_number(folder / "cpu.cfs_quota_us");
    period = read_number(folder / "cpu.cfs_period_us");
  }
  if (quota && period && *quota > 0 && *period > 0) tighten(limits.cores, *quota / *period);
  for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
    // Version 1 says "no limit" by a number near 2^63.
    const std::optional<double> bytes = read_number(folder / name);
    if (bytes && *bytes > 0 && *bytes < 0x1p62) tighten(limits.memory, std::int64_t(*bytes));
  }
}

}  // namespace

GroupLimits read_group_limits(const fs::path& mount, const fs::path& membership) {
  GroupLimits limits;
  std::ifstream in(membership);
  for (std::string line; std::getline(in, line);) {  // "hierarchy:controllers:/path"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = str(",", line.substr(first + 1, second - first - 1), ",");
    const fs::path inside = fs::path(line.substr(second + 1)).relative_path();
    std::string root;
    if (controllers.find(",cpu,") != std::string::npos) root = "cpu";
    if (controllers.find(",memory,") != std::string::npos) root = "memory";
    if (root.empty() && controllers != ",,") continue;
    // The group and all it lies in. Inside a container the outer ones may not be visible.
    fs::path group = inside;
    for (;; group = group.parent_path()) {
      read_group(mount / root / group, limits);
      if (group.empty()) break;
    }
  }
  return limits;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  int cores = known ? CPU_COUNT(&set) : int(std::thread::hardware_concurrency());
  if (const auto quota = read_group_limits().cores) cores = std::min(cores, int(*quota));
  return std::max(1, cores);
}

std::int64_t usable_memory() {
  struct sysinfo info {};
  std::int64_t bytes = std::int64_t{1} << 62;
  if (sysinfo(&info) == 0)
    bytes = (std::int64_t(info.totalram) + std::int64_t(info.totalswap)) * info.mem_unit;
  bytes = std::min(bytes, read_group_limits().memory.value_or(bytes)) / processes;
  // Limits of each process alone (ulimit -v, -d).
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < rlim_t(bytes))
      bytes = std::int64_t(limit.rlim_cur);
  }
  return bytes;
}

void check_memory_for(std::int64_t count, std::int64_t size, const std::string& what) {
  std::int64_t bytes = 0;
  const bool overflow = __builtin_mul_overflow(count, size, &bytes);
  const std::int64_t usable = usable_memory();
  CHECK(!overflow && bytes <= usable, "out of memory: ", what, " needs ",
        overflow ? std::string("more than 8 EiB") : human_bytes(bytes), "; ", human_bytes(usable),
        " can be used here");
}

int processes_here() { return processes; }
void share_machine(int count) { processes = count; }

}  // namespace lacuna
