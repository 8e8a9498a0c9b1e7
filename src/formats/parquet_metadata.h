#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::parquet {

// What a Parquet file says of itself (github.com/apache/parquet-format, src/main/thrift/
// parquet.thrift), as far as a column of texts needs it.

enum class Codec : std::int32_t {
  none = 0,
  snappy = 1,
  gzip = 2,
  lzo = 3,
  brotli = 4,
  lz4_hadoop = 5,
  zstd = 6,
  lz4 = 7
};
enum class Encoding : std::int32_t {
  plain = 0,
  plain_dictionary = 2,
  rle = 3,
  bit_packed = 4,
  delta_binary_packed = 5,
  delta_length_byte_array = 6,
  delta_byte_array = 7,
  rle_dictionary = 8
};

/// A column's part of a row group: pages, one behind the other.
struct Chunk {
  std::int64_t begin = 0, bytes = 0;  // in the file
  std::int64_t values = 0;            // nulls among them
  Codec codec = Codec::none;
};
/// A column of texts of which each row has at most one.
struct Column {
  int optional_levels = 0;  // how many of the groups that hold it, and itself, may be null
  std::vector<Chunk> chunks;
  std::int64_t rows = 0;
};

/// Parses the footer (the metadata between the row groups and the file's last 8 bytes) of a file of
/// `file_bytes`, and finds the column called `name`: a field, or "field.of.a.struct". Error, naming
/// the file, when there is none (with those of texts that there are), or when it is of another
/// type, repeated or encrypted; DamagedFile for what contradicts itself or points out of the file.
Column find_column(std::string_view footer, std::int64_t file_bytes, const std::string& name,
                   const std::string& file);

enum class PageKind : std::int32_t { data = 0, index = 1, dictionary = 2, data_v2 = 3 };

struct PageHeader {
  PageKind kind = PageKind::data;
  std::int32_t bytes = -1, unpacked_bytes = -1;
  std::optional<std::uint32_t> crc;  // CRC-32 of the page as stored
  std::int32_t values = 0;
  Encoding encoding = Encoding::plain, levels_encoding = Encoding::rle;
  // Of version 2.
  std::int32_t definition_bytes = 0, repetition_bytes = 0;
  bool packed = true;

  std::size_t header_bytes = 0;
};
/// Of the page that `bytes` begins with.
PageHeader parse_page_header(std::string_view bytes, const std::string& file);

}  // namespace lacuna::parquet
