#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/unicode.h"

namespace lacuna {

/// The printable character that stands for a byte in tokenizer.json, as GPT-2 chose them: bytes
/// that print in Latin-1 stand for themselves, the others, in order, are U+0100 and up.
CodePoint character_of_byte(unsigned char byte);

/// Bytes as the text of a token.
std::string to_byte_alphabet(std::string_view bytes);
/// The bytes that a token's text (valid UTF-8) stands for; nullopt when a character stands for no
/// byte, as may be in added tokens.
std::optional<std::string> from_byte_alphabet(std::string_view token);

}  // namespace lacuna
