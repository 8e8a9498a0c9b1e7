#pragma once
#include <zlib.h>
#include <zstd.h>

#include <string>

#include "core/check.h"

namespace lacuna::testing {

/// A member of gzip, with a checksum.
inline std::string gzip(const std::string& text) {
  z_stream stream{};
  CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflate");
  std::string bytes(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = uInt(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = uInt(bytes.size());
  CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  bytes.resize(stream.total_out);
  deflateEnd(&stream);
  return bytes;
}

/// A frame of zstd, with a checksum.
inline std::string zstd(const std::string& text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  const std::size_t size =
      ZSTD_compress2(context, bytes.data(), bytes.size(), text.data(), text.size());
  ZSTD_freeCCtx(context);
  CHECK(!ZSTD_isError(size), "zstd: ", ZSTD_getErrorName(size));
  bytes.resize(size);
  return bytes;
}

}  // namespace lacuna::testing
