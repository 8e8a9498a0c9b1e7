#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "checkpoint/team.h"
#include "config/config.h"

namespace lacuna {

/// The folder of a run, train.output: config.toml as resolved, metrics.jsonl, TensorBoard's event
/// files, checkpoints/.
class RunDirectory {
 public:
  /// Looks, and writes nothing. Without `resume`, UsageError when the folder holds a run already,
  /// saying how to go on. With it, finds the newest valid checkpoint; Error when there are
  /// checkpoints but none is valid.
  /// The ranks that train together share the search; the first looks for all, and open()s it.
  RunDirectory(const std::string& path, bool resume, Team& team);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// What to resume from; none when the run is to begin.
  const std::optional<std::filesystem::path>& checkpoint() const { return checkpoint_; }
  /// Makes the folder, keeps other processes out of it, writes config.toml, and renames damaged
  /// checkpoints that are newer than checkpoint(). Error when another process trains there.
  void open(const Config& config);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }

 private:
  std::filesystem::path path_;
  std::optional<std::filesystem::path> checkpoint_;
  int lock_ = -1;
};

}  // namespace lacuna
