#include "training/checkpoint_save.h"

#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstring>

#include "core/check.h"
#include "model_io/tensor_io.h"
#include "training/finite.h"

namespace lacuna {
namespace {

// Where all cores compute, what is written in the background takes their time, caches and memory
// bandwidth: a thread of the lowest priority writes small parts, a tenth of the time.
constexpr int kNiceness = 19;
constexpr std::int64_t kPartElements = std::int64_t{1} << 20;
constexpr double kPauses = 9;  // times the processor time of the part before

/// Of this thread.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

bool has_tensor(const SavedGroup& group, const NamedWeight& weight) {
  return !group.has || group.has(weight);
}

std::vector<StoredTensor> stored_tensors(const ModelTensors& weights,
                                         const std::vector<SavedGroup>& groups) {
  std::vector<StoredTensor> all;
  for (const SavedGroup& group : groups)
    for (const NamedWeight& w : weights.named())
      if (has_tensor(group, w)) all.push_back({group.name, w.name, w.whole, group.dtype});
  return all;
}

/// Calls visit(tensor, weight, piece) for what this rank saves.
template <class Visitor>
void for_pieces(const ModelTensors& weights, const std::vector<SavedGroup>& groups,
                const Visitor& visit) {
  std::size_t next = 0;  // tensor
  std::vector<std::size_t> tensors(weights.named().size());
  for (const SavedGroup& group : groups) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (has_tensor(group, weights.named()[i])) tensors[i] = next++;
    for (const WeightPiece& piece : group.pieces)
      if (const NamedWeight& w = weights.named()[piece.weight];
          !w.replicated() || weights.share().index == 0)
        visit(tensors[piece.weight], w, piece);
  }
}

}  // namespace

CheckpointSave::CheckpointSave(const std::filesystem::path& path, const CheckpointInfo& info,
                               const ModelTensors& weights, const std::vector<SavedGroup>& groups,
                               ProcessGroup& team, Ops& ops, const Arena* staging)
    : path_(path),
      team_(team),
      tensors_(stored_tensors(weights, groups)),
      writer_(path, info, tensors_, team) {
  if (!staging) {
    for_pieces(weights, groups, [&](std::size_t tensor, const NamedWeight& w, const auto& piece) {
      for_host_boxes(w, piece, ops, [&](std::int64_t row, std::int64_t col, const Tensor& box) {
        write(tensor, row, col, box);
      });
    });
    written_ = true;
    return;
  }
  Slot copy{0};
  for_pieces(weights, groups, [&](std::size_t tensor, const NamedWeight& w, WeightPiece piece) {
    const Tensor host = (*staging)[copy];
    ++copy.index;
    if (piece.values.place == Place::host)
      std::memcpy(host.data, piece.values.data, std::size_t(host.bytes()));
    else
      ops.copy(host, piece.values);
    piece.values = host;
    for_boxes(w, piece, kPartElements, [&](std::int64_t row, std::int64_t col, const Tensor& box) {
      parts_.push_back({tensor, row, col, box});
    });
  });
  ops.synchronize();
  thread_ = std::thread([this] { write_in_background(); });
}

Plan CheckpointSave::staging_plan(const ModelTensors& weights,
                                  const std::vector<SavedGroup>& groups) {
  Plan plan;
  for_pieces(weights, groups, [&](std::size_t, const NamedWeight& w, const WeightPiece& piece) {
    plan.add("checkpoint/" + w.name, piece.values.shape, piece.values.dtype);
  });
  return plan;
}

CheckpointSave::~CheckpointSave() { join(); }

void CheckpointSave::join() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    hurry_ = true;
  }
  awaited_.notify_one();
  thread_.join();
}

void CheckpointSave::write(std::size_t tensor, std::int64_t row, std::int64_t col,
                           const Tensor& box) {
  if (!all_finite(box))
    failure_ = path_.string() + ": not saved: " + tensors_[tensor].group + "/" +
               tensors_[tensor].name + kHoldsNonFinite;
  writer_.write(tensor, row, col, box);
}

void CheckpointSave::write_in_background() {
  setpriority(PRIO_PROCESS, 0, kNiceness);  // on Linux, of the calling thread
  try {
    for (const Part& part : parts_) {
      const double before = processor_seconds();
      write(part.tensor, part.row, part.col, part.box);
      std::unique_lock lock(mutex_);
      awaited_.wait_for(lock,
                        std::chrono::duration<double>(kPauses * (processor_seconds() - before)),
                        [&] { return hurry_; });
    }
    writer_.flush();
  } catch (const std::exception& e) {
    failure_ = e.what();
  }
  written_ = true;
}

void CheckpointSave::finish() {
  join();
  for (const std::string& failure : team_.gather(failure_)) CHECK(failure.empty(), failure);
  writer_.commit();
}

}  // namespace lacuna
