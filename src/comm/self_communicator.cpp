#include <cstring>

#include "comm/communicator.h"

namespace lacuna {
namespace {

void copy_if_elsewhere(Tensor to, Tensor from) {
  CHECK(to.place == Place::host && from.place == Place::host,
        "SelfCommunicator moves host tensors only");
  CHECK(
      to.count() == from.count() && to.dtype == from.dtype && to.contiguous() && from.contiguous(),
      "one rank's collective: ", to, " and ", from, " differ");
  if (to.data != from.data) std::memmove(to.data, from.data, std::size_t(from.bytes()));
}

}  // namespace

std::unique_ptr<Communicator> SelfCommunicator::split(int, int) {
  return std::make_unique<SelfCommunicator>();
}
void SelfCommunicator::all_reduce(Tensor, Reduce) {}
void SelfCommunicator::all_gather(Tensor out, Tensor mine) { copy_if_elsewhere(out, mine); }
void SelfCommunicator::reduce_scatter(Tensor mine, Tensor in, Reduce) {
  copy_if_elsewhere(mine, in);
}
void SelfCommunicator::broadcast(Tensor, int root) {
  CHECK(root == 0, "broadcast from rank ", root, " of 1");
}

}  // namespace lacuna
