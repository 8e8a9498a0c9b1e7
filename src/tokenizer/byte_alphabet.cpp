#include "tokenizer/byte_alphabet.h"

#include <array>

namespace lacuna {
namespace {

constexpr CodePoint kFirstStandIn = 0x100, kEnd = 0x144;  // 68 bytes do not print

struct Alphabet {
  std::array<CodePoint, 256> character{};
  std::array<int, kEnd> byte{};

  constexpr Alphabet() {
    for (int& b : byte) b = -1;
    CodePoint next = kFirstStandIn;
    for (CodePoint b = 0; b < 256; ++b) {
      const bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      character[b] = prints ? b : next++;
      byte[character[b]] = int(b);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

CodePoint character_of_byte(unsigned char byte) { return kAlphabet.character[byte]; }

std::string to_byte_alphabet(std::string_view bytes) {
  std::string token;
  token.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(token, character_of_byte(static_cast<unsigned char>(b)));
  return token;
}

std::optional<std::string> from_byte_alphabet(std::string_view token) {
  std::string bytes;
  for (const CodePoint c : code_points(token)) {
    if (c >= kEnd || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes += char(kAlphabet.byte[c]);
  }
  return bytes;
}

}  // namespace lacuna
