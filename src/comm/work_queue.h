#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "comm/device_mesh.h"
#include "comm/mpi_session.h"

namespace lacuna {

/// Distributes items of work over the data ranks of a job: each item goes to the rank that asks
/// next, so that ranks which get quicker items, or are faster, do more of them. The ranks of a
/// tensor parallel group get the same items. A thread of rank 0 answers the others.
class WorkQueue {
 public:
  /// Borrows both. Collective.
  WorkQueue(const MpiSession& session, const DeviceMesh& mesh);
  /// Collective, but when an exception passes by.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  /// Starts over: next() gives the numbers [0, count). All ranks call it, after finish().
  void begin(std::int64_t count);
  /// The next item; nothing when none is left.
  std::optional<std::int64_t> next();
  /// Returns when every rank of the job has called it, done with its own items. There is no limit
  /// of time. A rank calls it after next() gave it nothing.
  void finish();

 private:
  class Counter;
  std::int64_t draw();

  const MpiSession& session_;
  const DeviceMesh& mesh_;
  std::unique_ptr<Counter> counter_;  // null: there is one data rank
  std::int64_t begin_ = 0, count_ = 0, drawn_ = 0;
  bool at_end_ = true;
};

}  // namespace lacuna
