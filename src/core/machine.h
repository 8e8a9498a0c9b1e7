#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace lacuna {

// What of this machine the process may use. In a container that is often less than there is.

/// Cores: those of the affinity mask, or the control group's quota, rounded down, if that is less.
int usable_cores();
/// Bytes of memory: RAM and swap, or the control group's limit if that is less; of that an equal
/// part where several processes share the machine. At most what the process's own limits allow
/// (ulimit -v, -d).
std::int64_t usable_memory();
/// Error, naming `what` and both sizes, when `count` things of `size` bytes are more than that. For
/// sizes that a user sets, before they are allocated.
void check_memory_for(std::int64_t count, std::int64_t size, const std::string& what);
/// How many processes of one run share this machine; 1 until share_machine() says otherwise.
int processes_here();
void share_machine(int processes);

/// The tightest limits of a process's control groups and the groups they lie in; none where no
/// group sets one.
struct GroupLimits {
  std::optional<double> cores;  // CPU time per time
  std::optional<std::int64_t> memory;
};
/// `mount`: where control groups are mounted, version 1 or 2; `membership`: the groups of the
/// process, as in /proc/self/cgroup. Files that are missing or say something else limit nothing.
GroupLimits read_group_limits(const std::filesystem::path& mount = "/sys/fs/cgroup",
                              const std::filesystem::path& membership = "/proc/self/cgroup");

}  // namespace lacuna
