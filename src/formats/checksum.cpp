#include "formats/checksum.h"

#include <algorithm>
#include <array>
#include <cstring>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace lacuna {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli's, lowest power in the top bit

#ifdef __SSE4_2__
std::uint32_t update(std::uint32_t crc, const unsigned char* p, std::size_t n) {
  std::uint64_t wide = crc;
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = std::uint32_t(wide);
  for (; n > 0; ++p, --n) crc = _mm_crc32_u8(crc, *p);
  return crc;
}
#else
constexpr std::array<std::uint32_t, 256> byte_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ kPolynomial : crc >> 1;
    table[i] = crc;
  }
  return table;
}
std::uint32_t update(std::uint32_t crc, const unsigned char* p, std::size_t n) {
  static constexpr auto table = byte_table();
  for (; n > 0; ++p, --n) crc = table[(crc ^ *p) & 255] ^ crc >> 8;
  return crc;
}
#endif

/// a·b modulo the polynomial, over GF(2).
std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t power = 1u << 31; power != 0; power >>= 1) {
    if (a & power) product ^= b;
    b = b & 1 ? b >> 1 ^ kPolynomial : b >> 1;
  }
  return product;
}

}  // namespace

std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t crc) {
  return ~update(~crc, static_cast<const unsigned char*>(data), bytes);
}

std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::int64_t bytes_of_b) {
  // Appending n bytes multiplies a CRC by x^(8n).
  std::uint32_t shift = 1u << 31;   // x^0
  std::uint32_t square = 1u << 23;  // x^8
  for (auto n = std::uint64_t(bytes_of_b); n != 0; n >>= 1) {
    if (n & 1) shift = multiply(shift, square);
    square = multiply(square, square);
  }
  return multiply(shift, a) ^ b;
}

std::uint32_t crc32c_of_zeros(std::int64_t bytes) { return ~crc32c_combine(~0u, 0, bytes); }

void PartialChecksum::add(std::int64_t offset, const void* data, std::int64_t bytes) {
  const std::uint32_t part = crc32c(data, std::size_t(bytes)) ^ crc32c_of_zeros(bytes);
  difference_ ^= crc32c_combine(part, 0, total_ - offset - bytes);
  bytes_ += bytes;
}

void PartialChecksum::add(const PartialChecksum& other) {
  difference_ ^= other.difference_;
  bytes_ += other.bytes_;
}

std::uint32_t PartialChecksum::crc() const { return difference_ ^ crc32c_of_zeros(total_); }

Coverage crc32c_of_parts(std::vector<ChecksumPart> parts, std::int64_t total, std::uint32_t& crc) {
  std::erase_if(parts, [](const ChecksumPart& part) { return part.bytes == 0; });
  std::sort(parts.begin(), parts.end(),
            [](const ChecksumPart& a, const ChecksumPart& b) { return a.offset < b.offset; });
  std::uint32_t sum = 0;
  std::int64_t end = 0;
  bool overlap = false;
  for (const ChecksumPart& part : parts) {
    if (part.offset > end) return Coverage::gap;
    overlap |= part.offset < end;
    sum = crc32c_combine(sum, part.crc, part.bytes);
    end = std::max(end, part.offset + part.bytes);
  }
  if (end < total) return Coverage::gap;
  if (overlap || end > total) return Coverage::overlap;
  crc = sum;
  return Coverage::exact;
}

}  // namespace lacuna
