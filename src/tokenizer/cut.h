#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace lacuna {

/// A text as numbers: a tokenizer's ids, or whatever else tells two ways of cutting it apart.
using EncodeText = std::function<std::vector<std::int32_t>(std::string_view)>;

/// How much text should follow `limit` for safe_cut to see what the end of a piece depends on.
inline constexpr std::size_t kCutContext = 512;

/// Where to cut `text`, at most at `limit` (in [1, text.size()]), so that encoding the parts gives
/// what encoding the whole would. Patterns differ in where that is (after "\n\n" it is for Llama 3,
/// but not for GPT-2), and added tokens, normalizers and prefix spaces have a say too, so
/// candidates are tried by encoding: the text around one, from each of the last 64 characters
/// before it on, must give the same whole and cut. Before a word that begins a line is tried first,
/// then before a space between two words, then between any two characters. In text where none is
/// found (one endless word) the cut is between two characters. Returns a value in [1, limit].
std::size_t safe_cut(std::string_view text, std::size_t limit, const EncodeText& encode);

}  // namespace lacuna
