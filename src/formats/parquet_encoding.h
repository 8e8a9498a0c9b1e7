#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/parquet_metadata.h"

namespace lacuna::parquet {

// Values as pages hold them (github.com/apache/parquet-format, Encodings.md), one after another and
// in memory that does not grow with what a page claims to hold. DamagedFile, naming the file, where
// they end too early.

/// Runs and bit-packed groups of numbers below 2^width (the "RLE / bit-packing hybrid").
class HybridReader {
 public:
  HybridReader(std::string_view bytes, int width, const std::string& file);
  std::uint32_t next();

 private:
  void begin_run();
  std::uint8_t byte();

  std::string_view bytes_;
  const int width_;
  const std::string& file_;
  std::uint64_t left_ = 0;   // values of the present run
  bool packed_ = false;      // and its kind
  std::uint32_t value_ = 0;  // of a run of one value
  std::uint64_t bits_ = 0;   // of a packed group, not yet given out
  int bits_left_ = 0;
};

/// Numbers as differences, bit-packed in blocks (DELTA_BINARY_PACKED).
class DeltaReader {
 public:
  DeltaReader(std::string_view bytes, const std::string& file);
  std::uint64_t count() const { return count_; }
  std::int64_t next();
  /// What follows, once all are read.
  std::string_view rest() const;

 private:
  void begin_block();
  std::uint64_t varint();
  std::int64_t signed_varint();
  std::uint64_t packed(int width);
  [[noreturn]] void refuse() const;

  std::string_view bytes_;
  const std::string& file_;
  std::uint64_t block_ = 0, miniblocks_ = 0, count_ = 0;
  std::uint64_t given_ = 0;  // values given out
  std::int64_t last_ = 0;    // value
  std::int64_t least_ = 0;   // difference of the block
  std::string_view widths_;  // of the block's miniblocks
  std::uint64_t left_in_block_ = 0;
  std::string_view miniblock_;  // bytes of the present one
  std::uint64_t left_in_miniblock_ = 0, bit_ = 0;
  std::size_t next_miniblock_ = 0;
};

/// Texts of a page without its nulls. Each is valid until the next.
class TextReader {
 public:
  virtual ~TextReader() = default;
  virtual std::string_view next() = 0;
};

/// Of `bytes` in an encoding that is not a dictionary's. Borrows both. Error for one that holds no
/// texts, or is newer.
std::unique_ptr<TextReader> read_texts(Encoding encoding, std::string_view bytes,
                                       const std::string& file);
/// Of indices into a dictionary. Borrows all.
std::unique_ptr<TextReader> read_indexed_texts(std::string_view bytes,
                                               const std::vector<std::string_view>& dictionary,
                                               const std::string& file);

}  // namespace lacuna::parquet
