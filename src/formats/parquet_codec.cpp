#include "formats/parquet_codec.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/damage.h"

namespace lacuna::parquet {
namespace {

bool unpack_gzip(std::string_view packed, std::string& out) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 32) != Z_OK) return false;  // gzip's header or zlib's
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = uInt(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = uInt(out.size());
  int result = inflate(&stream, Z_FINISH);
  while (result == Z_STREAM_END && stream.avail_in > 0 && inflateReset(&stream) == Z_OK)
    result = inflate(&stream, Z_FINISH);  // a member more
  const bool whole = result == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  return whole;
}

bool unpack_lz4(std::string_view packed, char* to, std::size_t bytes) {
  return LZ4_decompress_safe(packed.data(), to, int(packed.size()), int(bytes)) == int(bytes);
}

std::size_t big_endian(std::string_view bytes) {
  std::size_t n = 0;
  for (int i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(bytes[std::size_t(i)]);
  return n;
}

/// Hadoop's frames: two lengths, and a block of LZ4.
bool unpack_lz4_frames(std::string_view packed, std::string& out) {
  std::size_t done = 0;
  while (!packed.empty()) {
    if (packed.size() < 8) return false;
    const std::size_t bytes = big_endian(packed), block = big_endian(packed.substr(4));
    packed.remove_prefix(8);
    if (block > packed.size() || bytes > out.size() - done) return false;
    if (!unpack_lz4(packed.substr(0, block), out.data() + done, bytes)) return false;
    packed.remove_prefix(block);
    done += bytes;
  }
  return done == out.size();
}

bool unpack_into(Codec codec, std::string_view packed, std::string& out, const std::string& file) {
  switch (codec) {
    case Codec::none:
      if (packed.size() != out.size()) return false;
      out.assign(packed);
      return true;
    case Codec::snappy: {
      std::size_t bytes = 0;
      if (snappy_uncompressed_length(packed.data(), packed.size(), &bytes) != SNAPPY_OK ||
          bytes != out.size())
        return false;
      return snappy_uncompress(packed.data(), packed.size(), out.data(), &bytes) == SNAPPY_OK;
    }
    case Codec::gzip:
      return unpack_gzip(packed, out);
    case Codec::brotli: {
      std::size_t bytes = out.size();
      return BrotliDecoderDecompress(
                 packed.size(), reinterpret_cast<const std::uint8_t*>(packed.data()), &bytes,
                 reinterpret_cast<std::uint8_t*>(out.data())) == BROTLI_DECODER_RESULT_SUCCESS &&
             bytes == out.size();
    }
    case Codec::zstd:
      return ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size()) == out.size();
    case Codec::lz4:
      return unpack_lz4(packed, out.data(), out.size());
    case Codec::lz4_hadoop:  // some writers left the frames out
      return unpack_lz4_frames(packed, out) || unpack_lz4(packed, out.data(), out.size());
    case Codec::lzo:
      break;
  }
  fail(str(file, ": is compressed by a codec that is not read (number ", int(codec),
           "); write it with snappy, gzip, brotli, lz4 or zstd"));
}

}  // namespace

std::string unpack(Codec codec, std::string_view packed, std::size_t bytes,
                   const std::string& file) {
  // What claims to be a large page, of next to no bytes, is not believed: it would take the memory.
  constexpr std::size_t kLarge = std::size_t{64} << 20, kMostRatio = 4096;
  CHECK_INTACT(bytes <= kLarge || bytes / kMostRatio < packed.size(), file, ": damaged: a page of ",
               packed.size(), " bytes cannot hold ", bytes);
  std::string out(bytes, '\0');
  CHECK_INTACT(unpack_into(codec, packed, out, file), file, ": damaged: a page cannot be unpacked");
  return out;
}

std::uint32_t crc32_of(std::string_view bytes) {
  return std::uint32_t(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), uInt(bytes.size())));
}

}  // namespace lacuna::parquet
