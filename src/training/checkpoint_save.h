#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

/// A group of a checkpoint, and this rank's part of it.
struct SavedGroup {
  std::string name;  // as in StoredTensor
  DType dtype;
  std::vector<WeightPiece> pieces;
  std::function<bool(const NamedWeight&)> has = {};  // a tensor for such a weight; none: for all
};

/// A checkpoint that the ranks of a team write together. The file has its final name when finish()
/// returns; before, the checkpoints that were there are all there is.
///
/// In the background, the constructor only copies this rank's part to main memory. A thread of low
/// priority checks and writes it, without MPI or HDF5, while training goes on, and unhurriedly
/// until somebody waits for it; the ranks meet again in finish().
class CheckpointSave {
 public:
  /// Collective. `weights` gives the tensors' names and shapes. `staging` is main memory of
  /// staging_plan(), which no other save uses before this one is destroyed; null to write
  /// everything before the constructor returns.
  CheckpointSave(const std::filesystem::path& path, const CheckpointInfo& info,
                 const ModelTensors& weights, const std::vector<SavedGroup>& groups,
                 ProcessGroup& team, Ops& ops, const Arena* staging);
  /// What a save of these groups copies.
  static Plan staging_plan(const ModelTensors& weights, const std::vector<SavedGroup>& groups);
  /// Waits for the thread. Without finish() no file appears.
  ~CheckpointSave();

  const std::filesystem::path& path() const { return path_; }
  /// Whether finish() would not wait for this rank's disk: its part is written, or failed.
  bool written() const { return written_; }
  /// Collective. Error on all ranks, and no file, when one of them could not write its part, or had
  /// a number to save that is not finite.
  void finish();

 private:
  struct Part {  // of a tensor, on the host
    std::size_t tensor;
    std::int64_t row, col;
    Tensor box;
  };
  void write(std::size_t tensor, std::int64_t row, std::int64_t col, const Tensor& box);
  void write_in_background();
  void join();

  const std::filesystem::path path_;
  ProcessGroup& team_;
  std::vector<StoredTensor> tensors_;
  CheckpointWriter writer_;
  std::vector<Part> parts_;           // to be written in the background
  std::string failure_;               // why this rank's part cannot be saved
  std::atomic<bool> written_{false};  // set last
  std::mutex mutex_;
  std::condition_variable awaited_;
  bool hurry_ = false;  // somebody waits for the thread; by mutex_
  std::thread thread_;
};

}  // namespace lacuna
