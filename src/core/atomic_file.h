#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace lacuna {

/// A file that appears under its final name only when complete: written as `path.partial`, flushed
/// to disk, renamed. If commit() is not reached the partial file is removed and `path` is as it
/// was.
class AtomicFile {
 public:
  /// Creates missing parent folders and an empty partial file, a new one: what has its name (left
  /// by a killed run, or a link that someone else put there) is removed, never opened. Throws Error
  /// when they cannot be created.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Where to write; close it before commit().
  const std::filesystem::path& partial() const { return partial_; }
  /// fsync(partial), rename, fsync(folder). Error when another process has replaced the partial
  /// file.
  void commit();

 private:
  void create_partial();
  bool is_ours() const;

  std::filesystem::path path_, partial_;
  int descriptor_ = -1;  // of the partial file, so that no other gets its inode number
  bool committed_ = false;
};

/// Writes `content` through an AtomicFile.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace lacuna
