#pragma once
#include <filesystem>
#include <string>

#include "comm/communicator.h"
#include "kernels/ops.h"

namespace lacuna {

/// The GEMM algorithms that were chosen by timing (compute.tune_gemms), kept in a
/// file beside the run: what was timed once on a kind of GPU is not timed again when the run is
/// resumed, which then also computes the same bits. Does nothing where nothing is tuned.
class GemmTuning {
 public:
  /// Takes the algorithms that the file holds, on all ranks. One that is damaged, or of another
  /// kind of GPU, driver or library, is left out with a warning. Collective, as save() is.
  GemmTuning(Ops& ops, Communicator& world, std::filesystem::path file);
  /// After the tuning: ranks of one kind of GPU take each other's algorithms, of those timed on
  /// several ranks the lowest one's; and rank 0 writes its own to the file, if they changed.
  void save();

 private:
  Ops& ops_;
  Communicator& world_;
  const std::filesystem::path file_;
  std::string in_file_;  // on rank 0
};

}  // namespace lacuna
