#include "kernels/bench/peak.h"

#include <algorithm>
#include <vector>

#include "core/arena.h"
#include "core/stopwatch.h"
#include "kernels/bench/noise.h"

namespace lacuna {
namespace {

double seconds_of(Ops& ops, auto&& work) {
  ops.synchronize();
  const Stopwatch stopwatch;
  work();
  ops.synchronize();
  return stopwatch.seconds();
}

/// Three n x n matrices and the product of two.
class Square {
 public:
  Square(Ops& ops, Noise& noise, std::int64_t n, DType type)
      : ops_(ops), arena_(ops.memory(), plan(n, type)) {
    for (const int i : {1, 2}) noise.fill(ops, matrix(n, i));
  }
  /// FLOP/s of one product of the first n rows and columns, and the seconds it took.
  double rate(std::int64_t n, double& seconds) const {
    seconds =
        seconds_of(ops_, [&] { ops_.linear_forward(matrix(n, 0), matrix(n, 1), matrix(n, 2)); });
    return 2.0 * double(n) * double(n) * double(n) / seconds;
  }

 private:
  static Plan plan(std::int64_t n, DType type) {
    Plan p;
    for (const char* name : {"peak/y", "peak/x", "peak/w"}) p.add(name, {n, n}, type);
    return p;
  }
  Tensor matrix(std::int64_t n, int i) const {
    const Tensor whole = arena_[Slot{i}];
    return Tensor(whole.data, {n, n}, whole.dtype, whole.place);
  }
  Ops& ops_;
  Arena arena_;
};

double host_peak(Ops& ops, Noise& noise, DType type) {
  constexpr std::int64_t sizes[] = {512, 768, 1024, 1536, 2048};
  constexpr double enough = 0.3;
  const Square square(ops, noise, 2048, type);
  double best = 0, spent = 0;
  for (int round = 0; round < 2 || spent < enough; ++round)
    for (const std::int64_t n : sizes) {
      double seconds = 0;
      best = std::max(best, square.rate(n, seconds));
      spent += seconds;
      if (round > 0 && spent >= enough) break;
    }
  return best;
}

double device_peak(Ops& ops, Noise& noise, DType type) {
  constexpr int kTurns = 5;
  constexpr double kLong = 0.02;  // eight times as long at twice the size
  double best = 0;
  for (std::int64_t n = 256; n <= 8192; n *= 2) {
    const Square square(ops, noise, n, type);
    double seconds = 0;
    ops.tune_gemms([&] { (void)square.rate(n, seconds); });
    for (int turn = 0; turn < kTurns; ++turn) {
      best = std::max(best, square.rate(n, seconds));
      if (seconds > kLong) break;
    }
    if (seconds > kLong) break;
  }
  return best;
}

}  // namespace

double measure_matmul_peak(Ops& ops, DType type) {
  Noise noise(Noise::Distribution::normal);
  if (ops.place() == Place::device) return device_peak(ops, noise, type);
  return host_peak(ops, noise, type);
}

double measure_copy_bandwidth(Ops& ops) {
  Plan plan;
  const Slot y = plan.add("copy/y", {64, 1 << 20}), x = plan.add("copy/x", {64, 1 << 20});
  const Arena arena(ops.memory(), plan);
  // The kernel hands out pages of zeros when they are first written.
  if (ops.place() == Place::host) ops.fill(arena[x], 1.0f);
  double best = 0;
  for (int round = 0; round < 5; ++round)
    best = std::max(best, 2.0 * double(arena[x].bytes()) /
                              seconds_of(ops, [&] { ops.copy(arena[y], arena[x]); }));
  return best;
}

}  // namespace lacuna
