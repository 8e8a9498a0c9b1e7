#include <cstring>

#include "comm/collective.h"
#include "comm/communicator.h"
#include "kernels/ops.h"

namespace lacuna {

void SelfCommunicator::copy(Tensor to, Tensor from) {
  ++stats_.collectives;
  if (to.data == from.data || to.count() == 0) return;
  if (to.place == Place::host) {
    std::memcpy(to.data, from.data, std::size_t(from.bytes()));
    return;
  }
  CHECK(ops_, "the communicator of group '", name_,
        "' was made without Ops and cannot move device tensors");
  ops_->copy(to, from.reshaped(to.shape));
}

std::unique_ptr<Communicator> SelfCommunicator::split(int, int, const std::string& name) {
  return std::make_unique<SelfCommunicator>(name, ops_);
}
void SelfCommunicator::all_reduce(Tensor x, Reduce operation) {
  check_all_reduce(x, operation);
  ++stats_.collectives;
}
void SelfCommunicator::all_gather(Tensor out, Tensor mine) {
  check_all_gather(out, mine, 0, 1);
  copy(out, mine);
}
void SelfCommunicator::reduce_scatter(Tensor mine, Tensor in, Reduce operation) {
  check_reduce_scatter(mine, in, operation, 0, 1);
  copy(mine, in);
}
void SelfCommunicator::broadcast(Tensor x, int root) {
  check_broadcast(x, root, 1);
  ++stats_.collectives;
}

}  // namespace lacuna
