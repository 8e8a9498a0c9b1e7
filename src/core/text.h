#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// At most 63 bytes of what printf() writes.
template <class... Args>
std::string format(const char* pattern, Args... args) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, args...);
  return buffer;
}
/// "1.50 GiB", "640 B".
std::string human_bytes(std::int64_t bytes);
/// "1h02m", "3m20s", "12.3s".
std::string human_duration(double seconds);
/// Three digits and a prefix: "33.7 µs", "1.50 ms", "181 GFLOP/s". `value`: 0 or between 1e-9 and
/// 1e15, about.
std::string with_prefix(double value, std::string_view unit);
/// Of a time of any length: "33.7 µs", "12.3 s", "3m20s".
std::string human_time(double seconds);
/// "1,234,567".
std::string with_commas(std::int64_t n);
/// "1 rank", "1,234 ranks": a number with its noun; `many` where the plural is not `one` + "s".
std::string counted(std::int64_t n, std::string_view one, std::string_view many = {});
/// "a", "a and b", "a, b and c" (or whatever `word` joins the last two).
std::string listed(const std::vector<std::string>& words, std::string_view word);
/// The candidate closest to `word` by edit distance, or "" when none is near enough to suggest.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);
/// What any bytes may be shown as: valid UTF-8 that neither moves a terminal's cursor nor reorders
/// what is around it. Bytes that are no UTF-8, the control codes U+0080 to U+009F and bidirectional
/// controls become U+FFFD; other control codes but newline and tab their pictures (U+2400 …).
std::string printable(std::string_view bytes);
/// The same in one line: newlines and tabs become spaces.
std::string printable_line(std::string_view bytes);
/// Text from a file, for a message: a printable line of at most 120 bytes of it.
std::string shown(std::string_view text);
/// Whether a character reorders the text around it: embeddings, overrides, isolates and marks of
/// the Unicode bidirectional algorithm (UAX #9, 2).
bool is_bidirectional_control(char32_t c);
/// `bytes` with U+FFFD for each byte that is no part of a UTF-8 character.
std::string valid_utf8(std::string_view bytes);
/// How many bytes at the end of `bytes` are the beginning of a UTF-8 character, but not all of it.
std::size_t unfinished_utf8(std::string_view bytes);
/// UTF-8 text without white space at both ends, as Python's str.strip() (so Jinja's `trim`, in the
/// chat templates of Hugging Face) removes it: the characters of str.isspace(), among them U+001C
/// to U+001F, U+0085, U+00A0 and U+3000. Bytes that are no UTF-8 are not white space.
std::string trimmed(std::string_view text);
/// The same at the end alone, as str.rstrip().
std::string_view without_trailing_space(std::string_view text);

}  // namespace lacuna
