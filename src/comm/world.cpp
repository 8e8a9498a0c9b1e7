#include "comm/world.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "core/log.h"
#include "kernels/ops.h"
#if defined(LACUNA_NCCL)
#include "comm/nccl/nccl_communicator.h"
#endif

namespace lacuna {
namespace {

std::string why_no_nccl() {
#if defined(LACUNA_NCCL)
  return NcclCommunicator::why_not();
#else
  return "this build is without NCCL (cmake -DLACUNA_NCCL=ON)";
#endif
}

/// Why not, on the first rank that cannot; the same on all.
std::string why_no_nccl_anywhere(Communicator& world) {
  const auto why = gathered_texts(world, why_no_nccl());
  for (std::size_t r = 0; r < why.size(); ++r)
    if (!why[r].empty()) return str("rank ", r, ": ", why[r]);
  return {};
}

bool all_have_one(const std::vector<std::string>& gpus) {
  return std::find(gpus.begin(), gpus.end(), "") == gpus.end();
}

/// "ranks 1 and 3 have the same GPU", or nothing.
std::string shared_gpu(const std::vector<std::string>& gpus) {
  std::map<std::string, std::size_t> owners;
  for (std::size_t r = 0; r < gpus.size(); ++r)
    if (const auto [owner, first] = owners.emplace(gpus[r], r); !first)
      return str("ranks ", owner->second, " and ", r, " have the same GPU");
  return {};
}

}  // namespace

TransportChoice choose_transport(Transport wanted, const std::vector<std::string>& gpus,
                                 const std::string& no_nccl) {
  if (wanted == Transport::mpi) return {};
  if (!all_have_one(gpus)) {
    if (wanted == Transport::nccl)
      fail_usage("parallel.transport = \"nccl\" needs compute.device = \"cuda\"");
    return {};
  }
  const std::string shared = shared_gpu(gpus), obstacle = shared.empty() ? no_nccl : shared;
  if (obstacle.empty()) return {Transport::nccl, {}};
  const char* advice = shared.empty() ? "" : "; start one rank for each GPU";
  if (wanted == Transport::nccl)
    fail_usage(str("parallel.transport = \"nccl\" cannot be had: ", obstacle, advice,
                   ", or let it be \"auto\""));
  return {Transport::mpi,
          str("tensors go from GPU to GPU through host memory, which is slow: ", obstacle, advice)};
}

std::unique_ptr<Communicator> world_communicator(const MpiSession& session, Ops* ops,
                                                 const CommunicationOptions& options,
                                                 Transport wanted) {
  if (session.size() == 1) return std::make_unique<SelfCommunicator>("world", ops);
  auto world = std::make_unique<MpiCommunicator>(session, ops, options);
  if (!ops) return world;
  const auto gpus = gathered_texts(*world, ops->gpu_identity());
  const auto choice = choose_transport(
      wanted, gpus, all_have_one(gpus) ? why_no_nccl_anywhere(*world) : std::string());
  if (!choice.warning.empty() && session.rank() == 0) log_warning(choice.warning);
#if defined(LACUNA_NCCL)
  if (choice.transport == Transport::nccl)
    return std::make_unique<NcclCommunicator>(
        std::move(world), *ops,
        NcclOptions{session.monitor(), options.timeout_seconds, session.rank()});
#endif
  return world;
}

}  // namespace lacuna
