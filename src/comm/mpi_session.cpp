#include "comm/mpi_session.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "comm/mpi_detail.h"
#include "comm/startup_watch.h"
#include "core/log.h"
#include "core/machine.h"

namespace lacuna {
namespace {

bool started_by_a_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name)) return true;
  return false;
}

/// The cores of `mine`, each divided by how many of the masks hold it; at least one.
int share_of_cores(const cpu_set_t& mine, const std::vector<cpu_set_t>& masks) {
  double share = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &mine)) continue;
    const auto users = std::count_if(masks.begin(), masks.end(),
                                     [&](const cpu_set_t& m) { return CPU_ISSET(core, &m) != 0; });
    share += 1.0 / double(users);
  }
  return std::max(1, int(share + 1e-6));
}

/// The message; with LACUNA_DEBUG=1 also where it was thrown.
std::string text_of(const std::exception& e) {
  const auto* error = dynamic_cast<const Error*>(&e);
  if (!error || !std::getenv("LACUNA_DEBUG")) return e.what();
  return str(e.what(), "\n  thrown at ", error->where.file, ':', error->where.line);
}

int report(const std::string& message, int code) {
  log_error(message);
  return code;
}

}  // namespace

MpiSession::MpiSession(double timeout_seconds) : timeout_seconds_(timeout_seconds) {
  if (!started_by_a_launcher()) return;
  const StartupWatch watch(timeout_seconds);
  int provided = 0;
  CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) == MPI_SUCCESS,
        "MPI could not be initialised");
  initialised_ = true;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  set_log_rank(rank_, size_);
  if (size_ == 1) return;
  if (provided < MPI_THREAD_MULTIPLE) {
    if (rank_ == 0) report("this MPI library does not offer MPI_THREAD_MULTIPLE", 1);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  monitor_ = std::make_unique<JobMonitor>();
}

MpiSession::~MpiSession() {
  if (!initialised_) return;
  // An error passes by that nobody reported: the other ranks may never come to the end.
  if (std::uncaught_exceptions() > 0 && size_ > 1) MPI_Abort(MPI_COMM_WORLD, 1);
  try {
    if (monitor_) monitor_->wait_for_all();
  } catch (const std::exception& e) {
    monitor_->end_job(e.what(), 1);
  }
  monitor_.reset();
  MPI_Finalize();
}

MpiSession::Node MpiSession::node() const {
  Node node;
  if (size_ == 1) return node;
  Activity activity(monitor(), timeout_seconds_, [] { return "finding the ranks of a machine"; });
  activity.waits_for_others(rank_, size_);
  MPI_Comm local = MPI_COMM_NULL, heads = MPI_COMM_NULL;
  mpi::check(
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local),
      "finding the ranks of a machine");
  MPI_Comm_rank(local, &node.local_rank);
  MPI_Comm_size(local, &node.local_size);

  // The lowest ranks of the machines count themselves.
  const int color = node.local_rank == 0 ? 0 : MPI_UNDEFINED;
  mpi::check(MPI_Comm_split(MPI_COMM_WORLD, color, rank_, &heads), "counting machines");
  if (heads != MPI_COMM_NULL) {
    MPI_Comm_rank(heads, &node.index);
    MPI_Comm_size(heads, &node.machines);
    MPI_Comm_free(&heads);
  }
  int machine[2] = {node.index, node.machines};
  mpi::check(MPI_Bcast(machine, 2, MPI_INT, 0, local), "counting machines");
  node.index = machine[0];
  node.machines = machine[1];

  cpu_set_t mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine) != 0 || CPU_COUNT(&mine) == 0) CPU_SET(0, &mine);
  std::vector<cpu_set_t> masks(std::size_t(node.local_size));
  mpi::check(
      MPI_Allgather(&mine, sizeof mine, MPI_BYTE, masks.data(), sizeof mine, MPI_BYTE, local),
      "sharing out the cores of a machine");
  node.threads = share_of_cores(mine, masks);
  // A control group's quota is less than the mask promises, and the machine's ranks share it.
  if (const int quota = usable_cores(); quota < CPU_COUNT(&mine))
    node.threads = std::clamp(quota / node.local_size, 1, node.threads);
  MPI_Comm_free(&local);
  return node;
}

int run_ranks(const std::function<int(MpiSession&)>& body, double timeout_seconds) {
  const auto guarded = [](JobMonitor* monitor, const std::function<int()>& call) {
    const auto end = [&](const std::exception& e, int code) {
      if (monitor) monitor->end_job(text_of(e), code);
      return report(text_of(e), code);
    };
    try {
      return call();
    } catch (const UsageError& e) {
      return end(e, 2);
    } catch (const std::exception& e) {
      return end(e, 1);
    }
  };
  return guarded(nullptr, [&] {
    MpiSession session(timeout_seconds);
    return guarded(session.monitor(), [&] { return body(session); });
  });
}

}  // namespace lacuna
