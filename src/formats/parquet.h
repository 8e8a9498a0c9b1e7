#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/input_file.h"

namespace lacuna {

/// The texts of one column of a Parquet file, row by row. Of the format (github.com/apache/
/// parquet-format, 2.11) it reads what writers make of texts: pages of version 1 and 2; plain,
/// dictionary and delta encodings; no compression, Snappy, gzip, Brotli, LZ4 and zstd; nulls;
/// columns inside structures. Checksums of pages are compared where there are any. Memory is
/// bounded by the file's metadata, a dictionary and the largest page.
class ParquetTexts {
 public:
  static constexpr std::string_view kMagic = "PAR1";

  /// `column`: a field's name, or "field.of.a.structure". Error, naming the file, when it is no
  /// regular file, or as parquet::find_column(); DamagedFile for one that is damaged or cut short.
  ParquetTexts(const std::string& path, const std::string& column);
  ~ParquetTexts();

  /// The next row's text, valid until the next call, or none of a null; false after the last row.
  /// Throws as above, and Error for an encoding or a codec that is not read.
  bool next(std::optional<std::string_view>& text);
  std::int64_t rows() const;
  /// Rows given out.
  std::int64_t row() const { return row_; }
  /// Bytes of the file that were read for them.
  std::int64_t consumed() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::int64_t row_ = 0;
};

}  // namespace lacuna
