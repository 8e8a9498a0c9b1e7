#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lacuna {

/// CRC-32C (Castagnoli, as in iSCSI and ext4) of `bytes` bytes, continuing from `crc`:
/// crc32c(b, n, crc32c(a, m)) is the CRC of a followed by b. Finds every error of up to 32
/// neighbouring bits.
std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t crc = 0);

/// The CRC of a followed by b, from crc32c(a), crc32c(b) and the length of b. So parts may be
/// summed by different threads or ranks, in any order.
std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::int64_t bytes_of_b);

/// What one writer knows of a dataset: bytes [offset, offset + bytes) and their CRC.
struct ChecksumPart {
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;
};

enum class Coverage : std::uint8_t { exact, gap, overlap };
/// Puts parts together, in any order, to the CRC of bytes [0, total). `crc` is set only when they
/// tile that range exactly; the answer depends on the bytes alone, not on how they were cut.
Coverage crc32c_of_parts(std::vector<ChecksumPart> parts, std::int64_t total, std::uint32_t& crc);

}  // namespace lacuna
