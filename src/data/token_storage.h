#pragma once
// For the .cpp files behind data/token_file.h alone: one file of tokens, in whatever format.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "data/token_file.h"

namespace lacuna {

/// Tokens are mapped, not read: a file may be larger than memory, and no descriptor stays open.
/// Ranges are the caller's to check. All methods may be called from several threads.
class TokenStorage {
 public:
  virtual ~TokenStorage() = default;

  /// Tokens [first, first + out.size()); their values are not checked.
  virtual void read(std::int64_t first, std::span<std::int32_t> out) const = 0;
  /// Only where info.responses.
  virtual void read_responses(std::int64_t first, std::span<std::uint8_t> out) const = 0;
  /// Where document i of [0, documents] begins: in [0, tokens], Error otherwise.
  virtual std::int64_t offset(std::int64_t i) const = 0;
  /// Where row i of [0, rows] begins; likewise.
  virtual std::int64_t row(std::int64_t i) const = 0;
  /// Compares checksums with contents, where the format has checksums.
  virtual void verify() const = 0;

  std::string name;
  TokenFileInfo info;
  std::int64_t tokens = 0, documents = 0, rows = 0;
};

/// `unread` is how many bytes of tokens may yet be read to check them as files are opened; what is
/// read is taken off, and a file with more is left to verify().
std::unique_ptr<TokenStorage> open_hdf5_tokens(const std::filesystem::path& path,
                                               std::int64_t& unread);

}  // namespace lacuna
