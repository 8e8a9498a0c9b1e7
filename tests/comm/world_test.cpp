// What carries tensors between ranks is chosen from what the ranks have; no GPU is needed for that.
#include "comm/world.h"

#include "tests/support/ranks.h"
#include "tests/support/support.h"
#if defined(LACUNA_NCCL)
#include "comm/nccl/nccl_communicator.h"
#include "kernels/cpu/cpu_ops.h"
#endif

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using Gpus = std::vector<std::string>;

TEST(Transport, NcclWhereEachRankHasAGpu) {
  for (const Transport wanted : {Transport::automatic, Transport::nccl}) {
    const TransportChoice choice = choose_transport(wanted, {"a", "b", "c"}, "");
    EXPECT_EQ(choice.transport, Transport::nccl);
    EXPECT_EQ(choice.warning, "");
  }
}

TEST(Transport, MpiWhereItIsWantedOrThereAreNoGpus) {
  for (const auto& choice : {choose_transport(Transport::mpi, {"a", "b"}, ""),
                             choose_transport(Transport::mpi, {"a", "a"}, "it is missing"),
                             choose_transport(Transport::automatic, {"", ""}, "it is missing"),
                             choose_transport(Transport::automatic, {"a", ""}, "")}) {
    EXPECT_EQ(choice.transport, Transport::mpi);
    EXPECT_EQ(choice.warning, "");
  }
  EXPECT_TRUE(contains(error_of<UsageError>([] {
                         choose_transport(Transport::nccl, {"a", ""}, "");
                       }),
                       "parallel.transport = \"nccl\" needs compute.device = \"cuda\""));
}

TEST(Transport, RanksThatShareAGpuAreNamed) {
  const TransportChoice choice = choose_transport(Transport::automatic, {"a", "b", "c", "b"}, "");
  EXPECT_EQ(choice.transport, Transport::mpi);
  EXPECT_EQ(choice.warning,
            "tensors go from GPU to GPU through host memory, which is slow: ranks 1 and 3 have the "
            "same GPU; start one rank for each GPU");
  EXPECT_EQ(error_of<UsageError>([] {
              choose_transport(Transport::nccl, {"a", "a"}, "");
            }),
            "parallel.transport = \"nccl\" cannot be had: ranks 0 and 1 have the same GPU; start "
            "one rank for each GPU, or let it be \"auto\"");
}

TEST(Transport, SaysWhyThereIsNoNccl) {
  const TransportChoice choice =
      choose_transport(Transport::automatic, {"a", "b"}, "rank 1: NCCL is missing");
  EXPECT_EQ(choice.transport, Transport::mpi);
  EXPECT_EQ(choice.warning,
            "tensors go from GPU to GPU through host memory, which is slow: rank 1: NCCL is "
            "missing");
  EXPECT_TRUE(contains(error_of<UsageError>([] {
                         choose_transport(Transport::nccl, {"a", "b"}, "rank 1: NCCL is missing");
                       }),
                       "cannot be had: rank 1: NCCL is missing, or let it be \"auto\""));
}

#if defined(LACUNA_NCCL)
TEST(Transport, NcclRefusesOperationsOfTheCpu) {
  CpuOps cpu(1);
  EXPECT_TRUE(contains(
      error_of([&] { NcclCommunicator(std::make_unique<SelfCommunicator>("world"), cpu, {}); }),
      "NCCL needs a GPU, not cpu"));
}
#endif

}  // namespace
}  // namespace lacuna
