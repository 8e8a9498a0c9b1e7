#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace lacuna {

/// A text as numbers: a tokenizer's ids, or whatever else tells two ways of cutting it apart.
using EncodeText = std::function<std::vector<std::int32_t>(std::string_view)>;

/// Where the words of a text end, in bytes, ascending: a cut there may leave the ids as they are
/// (Tokenizer::word_ends).
using WordEnds = std::function<std::vector<std::size_t>(std::string_view)>;

/// Where to cut a text, at most at `limit` (in [1, text.size()]), so that the parts can be
/// tokenised independently; 0 when it offers no such place. `text` begins where a cut was made, and
/// holds kCutContext bytes beyond the limit where there are as many.
using CutText = std::function<std::size_t(std::string_view text, std::size_t limit)>;

/// How much text should follow `limit` for find_cut to see what the end of a piece depends on.
inline constexpr std::size_t kCutContext = 512;
/// Pieces grow to this where a text offers no cut: a word (or a number that is cut from its end)
/// may be as long and keep its ids.
inline constexpr std::size_t kLongestPiece = std::size_t{1} << 24;

/// A CutText by trial. Patterns differ in where a cut is seen (after "\n\n" it is not for Llama 3,
/// but for GPT-2), and added tokens, normalizers and prefix spaces have a say too, so candidates
/// are tried by encoding: the text around one, from each of the last 64 characters before it on and
/// to several ends, must give the same whole and cut. Before a word that begins a line is tried
/// first, then before a space between two words, then between any two characters. Last come the
/// ends of the words that the text has from its beginning on: they alone tell where groups of
/// digits end in a long number. An end counts if it stays one when the text is a few characters
/// shorter, since how a number goes on may decide where its groups lie.
std::size_t find_cut(std::string_view text, std::size_t limit, const EncodeText& encode,
                     const WordEnds& word_ends);

/// Between two characters, at most at `limit`, whatever that does to the ids; at least 1.
std::size_t cut_anywhere(std::string_view text, std::size_t limit);

/// The length of the next piece of a text, of which `ahead(n)` shows the next n bytes, or all that
/// are left: about `wanted` bytes, more where `cut` finds none, and at most kLongestPiece; there it
/// ends between any two characters.
std::size_t piece_length(const std::function<std::string_view(std::size_t)>& ahead,
                         std::size_t wanted, const CutText& cut);

}  // namespace lacuna
