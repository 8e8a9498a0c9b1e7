#include "kernels/cuda/products.h"

#include "kernels/emulator/matrix_product.h"
#include "kernels/emulator/queue.h"

namespace lacuna {

struct Products::State {
  Device& device;
  ThreadPool pool{1};
};

Products::Products(Device& device, bool) : state_(new State{device}) {}
Products::~Products() { emulator::finish_all_streams(); }  // the last products need the pool

void Products::multiply(const char*, const Product& product) {
  emulator::enqueue(state_->device.stream(), [product, &pool = state_->pool] {
    emulator::multiply(pool, product, 1, product.c, product.accumulate ? 1 : 0);
  });
}

}  // namespace lacuna
