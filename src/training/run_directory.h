#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "formats/process_group.h"

namespace lacuna {

/// Throws UsageError when `run`, a run's folder, is a file, or holds a run that is not to be
/// resumed.
void check_run_folder(const std::filesystem::path& run, bool resume);

/// The folder of a run, train.output: config.toml as resolved, metrics.jsonl, TensorBoard's event
/// files, checkpoints/.
class RunDirectory {
 public:
  /// Looks, and writes nothing. Without `resume`, UsageError when the folder holds a run already,
  /// saying how to go on. With it, keeps other processes out of a folder that exists, so that what
  /// is chosen stays the newest, and finds the newest valid checkpoint. Error when another process
  /// trains there, when there are checkpoints but none is valid, and when one may be good but
  /// cannot be read.
  /// The ranks that train together share the search; the first looks for all, and open()s it.
  RunDirectory(const std::string& path, bool resume, ProcessGroup& team);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// What to resume from; none when the run is to begin.
  const std::optional<std::filesystem::path>& checkpoint() const { return found_.newest; }
  /// Makes the folder, keeps other processes out of it, writes config.toml, and renames the damaged
  /// checkpoints that were passed over. Error when another process trains there, or has begun a run
  /// or gone on with it since this one looked.
  void open(const Config& config);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }

 private:
  void lock();
  void check_unchanged() const;

  std::filesystem::path path_;
  const bool resume_;
  FoundCheckpoint found_;
  int lock_ = -1;
};

}  // namespace lacuna
