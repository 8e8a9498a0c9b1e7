#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace lacuna {

/// A file that grows by whole records, each handed to the system at once so that other programs can
/// follow it. A crash may cut the last record short; readers drop it.
class AppendFile {
 public:
  /// Opens or creates it. Error naming the file and the system's reason.
  explicit AppendFile(const std::filesystem::path& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  /// Error when not all of it could be written (a full disk).
  void append(std::string_view record);
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  int fd_;
};

}  // namespace lacuna
