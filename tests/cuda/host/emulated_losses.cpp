// Prints the training losses of the emulated device, for tests of another one in their process.
#include "tests/cuda/host/training_losses.h"

int main() {
  lacuna::CudaOps ops;
  std::fputs(lacuna::testing::training_losses(ops).c_str(), stdout);
}
