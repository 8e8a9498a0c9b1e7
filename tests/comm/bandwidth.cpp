// Time of a collective against MPI's own, taking turns:
//   mpirun -n 4 build/cpu/bin/comm_bandwidth [MiB] [rounds] [block KiB]
// GB/s are of "bus bandwidth" 2 (n-1)/n bytes / seconds: what each rank must send at the least.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "comm/mpi_detail.h"
#include "comm/world.h"

using namespace lacuna;

namespace {

struct Times {
  std::vector<double> seconds;
  void print(const char* what, double gigabytes) {
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2], best = seconds[0];
    std::printf("  %-14s median %.6f s, %6.2f GB/s; best %.6f s, %6.2f GB/s\n", what, median,
                gigabytes / median, best, gigabytes / best);
  }
};

template <class Call>
double seconds(Communicator& world, Call&& call) {
  world.barrier();
  const auto begin = std::chrono::steady_clock::now();
  call();
  const std::chrono::duration<double> mine = std::chrono::steady_clock::now() - begin;
  return reduced(world, mine.count(), Reduce::max);
}

int measure(MpiSession& session, std::int64_t bytes, int rounds, std::int64_t block) {
  CommunicationOptions options;
  if (block) options.block_bytes = block;
  const auto world = world_communicator(session, nullptr, options);
  std::vector<float> x(std::size_t(bytes / 4), 1.0f);
  const Tensor t(x.data(), Shape{std::int64_t(x.size())});
  Times ours, theirs;
  for (int i = 0; i < rounds + 1; ++i) {
    const double own = seconds(*world, [&] {
      world->all_reduce(t, Reduce::max);
      world->wait();
    });
    const double mpi = seconds(*world, [&] {
      MPI_Allreduce(MPI_IN_PLACE, x.data(), int(x.size()), MPI_FLOAT, MPI_MAX, MPI_COMM_WORLD);
    });
    if (i == 0) continue;  // connections, page faults
    ours.seconds.push_back(own);
    theirs.seconds.push_back(mpi);
  }
  const int n = session.size();
  const double bus = 2.0 * (n - 1) / n * double(bytes) / 1e9;
  if (session.rank() != 0) return 0;
  std::printf("%d ranks, %lld bytes\n", n, static_cast<long long>(bytes));
  ours.print("all_reduce", bus);
  theirs.print("MPI_Allreduce", bus);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks([&](MpiSession& session) {
    const auto argument = [&](int i, double otherwise) {
      return argc > i ? std::atof(argv[i]) : otherwise;
    };
    return measure(session, std::int64_t(argument(1, 64) * (1 << 20)) / 4 * 4, int(argument(2, 11)),
                   std::int64_t(argument(3, 0) * 1024));
  });
}
