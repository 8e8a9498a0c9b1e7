#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "formats/parquet_metadata.h"

namespace lacuna::parquet {

/// What `packed` was compressed from, which must have `bytes` bytes. DamagedFile, naming the file,
/// when it has not; Error for a codec that is not read (LZO, or one that is newer).
std::string unpack(Codec codec, std::string_view packed, std::size_t bytes,
                   const std::string& file);
/// CRC-32 (that of gzip).
std::uint32_t crc32_of(std::string_view bytes);

}  // namespace lacuna::parquet
