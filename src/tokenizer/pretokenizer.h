#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace lacuna {

/// What becomes of the matches of a Split, as Hugging Face names it. The parts between matches
/// always stay, as words of their own unless a match is merged with them.
enum class SplitBehavior : std::uint8_t {
  isolated,
  removed,
  merged_with_previous,
  merged_with_next,
  contiguous,  // matches that touch are one word
};

/// One step of cutting a text into words.
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;        // matches and the parts between them change places
  bool prefix_space = false;  // first, put a space before what does not begin with one
};

/// A thread's own memory for cutting.
struct SplitScratch {
  std::vector<RegexScratch> steps;
};

/// Cuts a text into words, within which byte-level BPE then merges: each step cuts the words of the
/// step before.
class Pretokenizer {
 public:
  /// `prefix_space`: a space is put before each word of the last step that does not begin with one
  /// (ByteLevel without its pattern, with add_prefix_space).
  explicit Pretokenizer(std::vector<SplitStep> steps, bool prefix_space = false)
      : steps_(std::move(steps)), prefix_space_(prefix_space) {}

  /// `end`: where the word ends in the text, in bytes. A word may have a space in front that the
  /// text does not have.
  using Emit = std::function<void(std::string_view word, std::size_t end)>;
  /// Calls emit(word, end) for each word of `text`, from left to right; none is empty. Bytes that
  /// are not valid UTF-8 are words of one byte each, and the text before and after them is cut as
  /// if it ended and began there.
  void split(std::string_view text, SplitScratch& scratch, const Emit& emit) const;

 private:
  // `text_end`: where `text` ends in the whole text.
  void apply(std::size_t step, std::string_view text, std::size_t text_end, SplitScratch& scratch,
             const Emit& emit) const;
  void cut(std::size_t step, std::string_view text, std::size_t text_end, SplitScratch& scratch,
           const Emit& emit) const;

  std::vector<SplitStep> steps_;
  bool prefix_space_;
};

/// GPT-2's pattern, ByteLevel's own: contractions, then letters, numbers or other characters, each
/// with a space before them, then white space.
extern const char* const kGpt2Pattern;
/// Llama 3's (and cl100k's): numbers in groups of three, line ends kept with what they end.
extern const char* const kLlama3Pattern;

}  // namespace lacuna
