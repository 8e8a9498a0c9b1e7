#include "kernels/platform/gemm.h"

#include <mutex>
#include <set>

#include "core/parallel.h"
#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/host_gemm.h"
#include "kernels/platform/emulated/queue.h"
#include "kernels/platform/gemm_table.h"

namespace lacuna {
namespace {

void count(const GemmShape& shape) {
  static std::mutex mutex;
  static std::set<GemmShape> known;
  const std::lock_guard lock(mutex);
  ++emulator::counters.gemms;
  emulator::counters.gemm_shapes += known.insert(shape).second;
}

}  // namespace

struct GemmRunner::State {
  Device& device;
  const bool time_algorithms;
  bool tuning = false;
  GemmTable table;
  ThreadPool pool{1};

  void enqueue(const Gemm& product) {
    emulator::enqueue(device.stream(), [product, this] {
      emulator::multiply(pool, product, 1, product.c, product.accumulate ? 1 : 0);
    });
  }
  /// There is one algorithm to choose from. As where there are several, it runs more than once, so
  /// that results which matter are seen to be wrong.
  void tune(const GemmShape& shape, const Gemm& product) {
    if (table.find(shape)) return;
    enqueue(product);
    table.set(shape, {});
    ++emulator::counters.tuned_shapes;
  }
};

GemmRunner::GemmRunner(Device& device, bool time_algorithms)
    : state_(new State{device, time_algorithms, false, GemmTable(device.description())}) {}
GemmRunner::~GemmRunner() { emulator::finish_all_streams(); }  // the last products need the pool

void GemmRunner::multiply(const char*, const Gemm& product) {
  const GemmShape shape(product);
  count(shape);
  if (state_->tuning && state_->time_algorithms) state_->tune(shape, product);
  state_->enqueue(product);
}

void GemmRunner::tune(const std::function<void()>& work) {
  const WhileTrue tuning(state_->tuning);
  work();
}

std::string GemmRunner::algorithms() const {
  return state_->time_algorithms ? state_->table.text() : std::string();
}

void GemmRunner::use_algorithms(const std::string& text) {
  if (state_->time_algorithms) state_->table.read(text);
}

}  // namespace lacuna
