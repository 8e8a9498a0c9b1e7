#include "comm/device_mesh.h"

#include <string>

#include "core/check.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// "1, 2 or 4": what divides n.
std::string divisors_of(int n) {
  std::string text;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) text += (d == 1 ? "" : d == n ? " or " : ", ") + std::to_string(d);
  return text;
}

}  // namespace

DeviceMesh::DeviceMesh(std::unique_ptr<Communicator> world, std::int64_t tensor, int machine)
    : world_(std::move(world)) {
  const int ranks = world_->size();
  if (tensor < 1 || ranks % tensor != 0) {
    const std::string start =
        tensor > 1 ? str("; or start a multiple of ", tensor, " ranks (mpirun -n)") : "";
    fail_usage(str("parallel.tensor_parallel = ", tensor, " does not divide the ",
                   counted(ranks, "rank"), " of this run: make it ", divisors_of(ranks), start));
  }
  const int rank = world_->rank(), copy = int(rank / tensor), share = int(rank % tensor);
  tensor_ = world_->split(copy, rank, "tensor");
  data_ = world_->split(share, rank, "data");

  const double highest = reduced(*tensor_, machine, Reduce::max);
  const double spread = reduced(*world_, highest > machine ? 1 : 0);
  if (spread > 0 && rank == 0)
    log_warning(str("parallel.tensor_parallel = ", tensor,
                    ": ranks of one model copy run on different machines,"
                    " which is slow; let the ranks of a machine be neighbours and a multiple of ",
                    tensor));
}

}  // namespace lacuna
