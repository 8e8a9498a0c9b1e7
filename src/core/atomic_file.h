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
  /// Creates missing parent folders. Throws Error when they, or the partial file's folder, cannot
  /// be.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Where to write; close it before commit().
  const std::filesystem::path& partial() const { return partial_; }
  /// fsync(partial), rename, fsync(folder).
  void commit();

 private:
  std::filesystem::path path_, partial_;
  bool committed_ = false;
};

/// Writes `content` through an AtomicFile.
void write_file(const std::filesystem::path& path, std::string_view content);
/// The whole file. Throws Error naming it and the system's reason.
std::string read_file(const std::filesystem::path& path);

}  // namespace lacuna
