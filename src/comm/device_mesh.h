#pragma once
#include <cstdint>
#include <memory>

#include "comm/communicator.h"

namespace lacuna {

/// The ranks of a run as a device mesh of data parallel and tensor parallel groups. The T ranks of
/// a tensor parallel group are neighbours, so that they share a machine and its fast links:
/// world rank = data rank * T + tensor rank.
///
///   8 ranks, T = 2:  tensor groups {0,1} {2,3} {4,5} {6,7},  data groups {0,2,4,6} {1,3,5,7}
class DeviceMesh {
 public:
  /// `tensor` is T, the configuration's parallel.tensor_parallel. Throws UsageError, on every rank,
  /// when it does not divide the ranks. `machine` is where this rank runs
  /// (MpiSession::Node::index): rank 0 warns when a model copy is spread over machines. Collective.
  DeviceMesh(std::unique_ptr<Communicator> world, std::int64_t tensor, int machine = 0);

  Communicator& world() const { return *world_; }
  /// Ranks with the same share of the model, for other sequences.
  Communicator& data() const { return *data_; }
  /// Ranks with other shares of the same copy, for the same sequences.
  Communicator& tensor() const { return *tensor_; }

 private:
  std::unique_ptr<Communicator> world_, data_, tensor_;
};

}  // namespace lacuna
