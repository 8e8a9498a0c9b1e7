#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace lacuna {

/// How many bytes of a file's beginning not_text() should see.
inline constexpr std::size_t kFileHead = std::size_t{1} << 16;

/// Why a file that begins with `head` is not UTF-8 text, as the rest of a sentence that begins with
/// its name, with what would be right: "is compressed (gzip); unpack it, or …". "" for text. Known
/// by their first bytes are compressed files, archives, columnar and tensor files, documents,
/// images and sound; else by NUL bytes, or by control characters as no text has them. `name` is for
/// the advice.
std::string not_text(std::string_view head, const std::string& name);

}  // namespace lacuna
