#include "kernels/bench/peak.h"

#include <algorithm>

#include "core/arena.h"
#include "core/stopwatch.h"

namespace lacuna {
namespace {

double seconds_of(Ops& ops, auto&& work) {
  ops.synchronize();
  const Stopwatch stopwatch;
  work();
  ops.synchronize();
  return stopwatch.seconds();
}

}  // namespace

double measure_matmul_peak(Ops& ops) {
  CHECK(ops.place() == Place::host, "measure_matmul_peak: only for operations on main memory");
  constexpr std::int64_t sizes[] = {512, 768, 1024, 1536, 2048};
  constexpr double enough = 0.3;
  Plan plan;
  const Slot y = plan.add("peak/y", {2048, 2048}), x = plan.add("peak/x", {2048, 2048}),
             w = plan.add("peak/w", {2048, 2048});
  const Arena arena(host_memory(), plan);
  ops.fill(arena[x], 0.5f);
  ops.fill(arena[w], 0.25f);
  double best = 0, spent = 0;
  for (int round = 0; round < 2 || spent < enough; ++round) {
    for (const std::int64_t n : sizes) {
      const auto square = [&](Slot s) { return Tensor(arena[s].data, {n, n}); };
      const double seconds =
          seconds_of(ops, [&] { ops.linear_forward(square(y), square(x), square(w)); });
      spent += seconds;
      best = std::max(best, 2.0 * double(n) * double(n) * double(n) / seconds);
      if (round > 0 && spent >= enough) break;
    }
  }
  return best;
}

double measure_copy_bandwidth(Ops& ops) {
  CHECK(ops.place() == Place::host, "measure_copy_bandwidth: only for operations on main memory");
  Plan plan;
  const Slot y = plan.add("copy/y", {64, 1 << 20}), x = plan.add("copy/x", {64, 1 << 20});
  const Arena arena(host_memory(), plan);
  ops.fill(arena[x], 1.0f);  // the kernel hands out pages of zeros when they are first written
  double best = 0;
  for (int round = 0; round < 5; ++round)
    best = std::max(best, 2.0 * double(arena[x].bytes()) /
                              seconds_of(ops, [&] { ops.copy(arena[y], arena[x]); }));
  return best;
}

}  // namespace lacuna
