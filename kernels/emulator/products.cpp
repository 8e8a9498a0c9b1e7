#include "kernels/cuda/products.h"

#include <mutex>
#include <set>

#include "core/parallel.h"
#include "kernels/cuda/product_table.h"
#include "kernels/emulator/counters.h"
#include "kernels/emulator/matrix_product.h"
#include "kernels/emulator/queue.h"

namespace lacuna {
namespace {

void count(const ProductShape& shape) {
  static std::mutex mutex;
  static std::set<ProductShape> known;
  const std::lock_guard lock(mutex);
  ++emulator::counters.products;
  emulator::counters.product_shapes += known.insert(shape).second;
}

}  // namespace

struct Products::State {
  Device& device;
  const bool time_algorithms;
  bool tuning = false;
  ProductTable table;
  ThreadPool pool{1};

  void enqueue(const Product& product) {
    emulator::enqueue(device.stream(), [product, this] {
      emulator::multiply(pool, product, 1, product.c, product.accumulate ? 1 : 0);
    });
  }
  /// There is one algorithm to choose from. As where there are several, it runs more than once, so
  /// that results which matter are seen to be wrong.
  void tune(const ProductShape& shape, const Product& product) {
    if (table.find(shape)) return;
    enqueue(product);
    table.set(shape, {});
    ++emulator::counters.tuned_shapes;
  }
};

Products::Products(Device& device, bool time_algorithms)
    : state_(new State{device, time_algorithms, false, ProductTable(device.description())}) {}
Products::~Products() { emulator::finish_all_streams(); }  // the last products need the pool

void Products::multiply(const char*, const Product& product) {
  const ProductShape shape(product);
  count(shape);
  if (state_->tuning && state_->time_algorithms) state_->tune(shape, product);
  state_->enqueue(product);
}

void Products::tune(const std::function<void()>& work) {
  const WhileTrue tuning(state_->tuning);
  work();
}

std::string Products::algorithms() const {
  return state_->time_algorithms ? state_->table.text() : std::string();
}

void Products::use_algorithms(const std::string& text) {
  if (state_->time_algorithms) state_->table.read(text);
}

}  // namespace lacuna
