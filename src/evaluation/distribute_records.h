#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/device_mesh.h"
#include "comm/work_queue.h"
#include "evaluation/record.h"

namespace lacuna {

/// The ranks that evaluate a task together; null where there is one. Borrowed.
struct EvalRanks {
  const DeviceMesh* mesh = nullptr;
  WorkQueue* queue = nullptr;

  Communicator* tensor() const { return mesh ? &mesh->tensor() : nullptr; }
  /// Null for one copy of the model.
  Communicator* data() const { return mesh && mesh->data().size() > 1 ? &mesh->data() : nullptr; }
};

/// What became of one record, for those who want to read along.
struct EvalSample {
  std::string place, prompt, output, wanted;
  bool right = false;
};

/// What a record adds to the counts that a task's metrics are made of.
using EvalCounts = std::array<std::int64_t, 3>;
struct EvalOutcome {
  EvalCounts counts{};
  EvalSample sample;
};

/// Calls `evaluate` for the number of each record, once over all data ranks, and returns the sums
/// of the counts on every rank. One data rank takes records in their order. Several take the
/// longest lines first, each as soon as it is free, so that none works on a long one when the
/// others are done; their samples are gathered at the end. `observe` gets the samples in the order
/// of the records, on every rank; without it none are kept. `what` is the progress line's. Throws
/// UsageError when the ranks have different records.
EvalCounts distribute_records(const EvalRanks& ranks, const std::vector<Record>& records,
                              const std::string& what,
                              const std::function<EvalOutcome(std::size_t record)>& evaluate,
                              const std::function<void(const EvalSample&)>& observe);

}  // namespace lacuna
