#pragma once
#include <filesystem>

namespace lacuna {

/// Files of a folder that appear when all of them are complete. They are written to a folder beside
/// it (or, when it exists already, within it) whose name ends in ".partial", and moved by commit().
/// If that is not reached they are removed, and the folder is as it was.
class StagedFolder {
 public:
  /// Missing parents are created. Error when that cannot be, or when `folder` is a file.
  explicit StagedFolder(const std::filesystem::path& folder);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  /// Where to write.
  const std::filesystem::path& staging() const { return staging_; }
  /// A new folder appears in one step. In an existing one the files replace those of their names,
  /// one after another; others stay.
  void commit();

 private:
  std::filesystem::path folder_, staging_;
  bool existed_;
};

}  // namespace lacuna
