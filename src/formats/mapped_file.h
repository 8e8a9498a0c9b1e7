#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace lacuna {

/// A whole file, mapped for reading; its bytes count as resident only while they are in use. Throws
/// DamagedFile for an empty file, and Error, naming it, when it cannot be opened or mapped.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& name() const { return name_; }
  char* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  /// Gives the memory of the whole pages in [from, from + bytes) back; reading them again is
  /// slower, and nothing else.
  static void release(const void* from, std::uint64_t bytes);
  /// Says that bytes are read here and there, so that a read brings no neighbours along.
  void expect_random_reads() const;
  /// Starts reading those bytes, which are wanted soon, in one go.
  static void prefetch(const void* from, std::uint64_t bytes);

 private:
  std::string name_;
  char* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace lacuna
