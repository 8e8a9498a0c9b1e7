#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace lacuna {

/// A regular file, open for reading. What is anything else (a folder, FIFO, device or socket, which
/// a downloaded folder may hold under a file's name) is an Error that says so: opening it could
/// wait for ever, and reading it never end.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& name() const { return name_; }
  int descriptor() const { return descriptor_; }
  std::int64_t bytes() const { return bytes_; }
  /// The first `most` bytes, or all where there are fewer.
  std::string begin(std::size_t most) const;

 private:
  std::string name_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
};

/// Larger files are data, and none of them is read whole.
inline constexpr std::int64_t kLargestWholeFile = std::int64_t{1} << 30;

/// The whole of a regular file. Error naming it and the system's reason, or saying that it is
/// larger than kLargestWholeFile.
std::string read_file(const std::filesystem::path& path);
/// The same of a file that an option names, which may also be a pipe that is already open:
/// /dev/stdin, or a shell's <(command). A FIFO of the file system is refused as by InputFile.
std::string read_named_file(const std::filesystem::path& path);

/// Error unless `path` names what text may be streamed from: a regular file, a pipe or FIFO, a
/// terminal, or /dev/null.
void check_data_source(const std::filesystem::path& path);

}  // namespace lacuna
