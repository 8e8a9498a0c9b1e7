#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/byte_reader.h"

namespace lacuna {

/// What a file holds: of gzip (RFC 1952, one member or many) and zstd (RFC 8878, one frame or many,
/// and skippable ones), known by their first bytes, what was compressed; of any other the file
/// itself.
class TextInput {
 public:
  /// Opens `path` as ByteReader does. While it is read, Error naming it for compressed data that
  /// are damaged or cut short, and for a zstd window of more than 128 MiB (zstd --long=28 and
  /// above), which would take as much memory.
  explicit TextInput(const std::string& path);

  ByteReader& text() const { return *text_; }
  /// Bytes of the file that were read.
  std::int64_t consumed() const;
  bool compressed() const { return raw_ != nullptr; }

 private:
  std::shared_ptr<ByteReader> raw_;  // of a compressed file
  std::unique_ptr<ByteReader> text_;
};

}  // namespace lacuna
