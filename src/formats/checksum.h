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

/// The CRC of `bytes` zeros.
std::uint32_t crc32c_of_zeros(std::int64_t bytes);

/// What one of several writers knows of the CRC of a dataset of `total` bytes: that of the parts it
/// wrote, in any order, in constant space. A CRC is linear: with all else zero, the parts'
/// differences from zeros XOR to the whole's.
class PartialChecksum {
 public:
  PartialChecksum() = default;
  explicit PartialChecksum(std::int64_t total) : total_(total) {}
  /// The part at byte `offset`.
  void add(std::int64_t offset, const void* data, std::int64_t bytes);
  /// What another writer knows.
  void add(const PartialChecksum& other);
  /// Whether as many bytes were added as there are.
  bool complete() const { return bytes_ == total_; }
  /// Of the whole, when every byte was added once.
  std::uint32_t crc() const;

 private:
  std::int64_t total_ = 0, bytes_ = 0;
  std::uint32_t difference_ = 0;  // from the CRC of zeros
};

}  // namespace lacuna
