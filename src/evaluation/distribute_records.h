#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
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

/// Called for records one after the other.
using RecordObserver = std::function<void(const Record&, const EvalSample&)>;

/// What a record adds to the counts that a task's metrics are made of.
using EvalCounts = std::array<std::int64_t, 3>;
struct EvalOutcome {
  EvalCounts counts{};
  EvalSample sample;
};

/// What a task does with each record.
class RecordEvaluation {
 public:
  using Done = std::vector<std::pair<std::size_t, EvalOutcome>>;

  virtual ~RecordEvaluation() = default;
  /// Whether another may begin. Always when none is under way.
  virtual bool has_room() const = 0;
  virtual void begin(std::size_t record) = 0;
  virtual bool idle() const = 0;
  /// Works on those under way until at least one is done.
  virtual Done work() = 0;
};

/// One record at a time.
class OneByOne final : public RecordEvaluation {
 public:
  explicit OneByOne(std::function<EvalOutcome(std::size_t record)> evaluate)
      : evaluate_(std::move(evaluate)) {}
  bool has_room() const override { return !record_; }
  void begin(std::size_t record) override { record_ = record; }
  bool idle() const override { return !record_; }
  Done work() override {
    const std::size_t record = *record_;
    record_.reset();
    return {{record, evaluate_(record)}};
  }

 private:
  const std::function<EvalOutcome(std::size_t record)> evaluate_;
  std::optional<std::size_t> record_;
};

/// Evaluates each record once, over all data ranks, and returns the sums of the counts on every
/// rank. One data rank begins records in their order. Several take the longest lines first, each as
/// soon as it has room, so that none works on a long one when the others are done; their samples
/// are gathered at the end. `observe` gets the samples in the order of the records, on every rank;
/// without it none are kept. `what` is the progress line's. Throws UsageError when the ranks have
/// different records.
EvalCounts distribute_records(const EvalRanks& ranks, const std::vector<Record>& records,
                              const std::string& what, RecordEvaluation& evaluation,
                              const RecordObserver& observe);

}  // namespace lacuna
