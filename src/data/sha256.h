#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lacuna {

/// SHA-256 (FIPS 180-4) of bytes given in any number of pieces. Names a tokenizer in a token file.
class Sha256 {
 public:
  void update(std::string_view bytes);
  /// 64 lower-case hexadecimal digits; nothing may follow it.
  std::string finish();

 private:
  void block(const unsigned char* bytes);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> pending_{};
  std::uint64_t bytes_ = 0;
};

/// The digest of one string.
std::string sha256(std::string_view bytes);

}  // namespace lacuna
