#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "decoding/token_constraint.h"

namespace lacuna {

/// What each id of a vocabulary adds to a text; "": nothing, it is no token of a text.
using TokenTexts = std::vector<std::string>;
/// Characters (UTF-8) that begin in a text, which may be part of one.
std::int64_t characters_of(std::string_view text);

/// The values that a slot of some tokens may come to have. A value that is shorter than the slot is
/// followed by the filler, which is no part of any value.
class SlotLanguage {
 public:
  virtual ~SlotLanguage() = default;
  /// Whether a slot can be filled, where its tokens are masked (TokenConstraint::kMasked).
  virtual bool fits(std::span<const std::int32_t> slot) const = 0;
  /// Of each masked token of a slot that fits: those with which it still does. Null elsewhere.
  /// Called by one thread at a time.
  virtual std::vector<TokenBias> biases(std::span<const std::int32_t> slot) const = 0;
};

/// Some texts, each as a sequence of tokens.
class ChoiceLanguage final : public SlotLanguage {
 public:
  ChoiceLanguage(std::vector<std::vector<std::int32_t>> choices, std::int32_t filler,
                 std::int64_t vocab_size);
  std::int64_t longest() const;
  bool fits(std::span<const std::int32_t> slot) const override;
  std::vector<TokenBias> biases(std::span<const std::int32_t> slot) const override;

 private:
  std::int32_t token(std::size_t choice, std::size_t at) const;
  std::vector<std::size_t> possible(std::span<const std::int32_t> slot) const;

  const std::vector<std::vector<std::int32_t>> choices_;
  const std::int32_t filler_;
  const std::int64_t vocab_size_;
};

/// A deterministic automaton over bytes.
struct ByteAutomaton {
  static constexpr std::int8_t kDead = -1;
  static constexpr int kMostStates = 8;
  /// next[state][byte]; state 0 begins.
  std::vector<std::array<std::int8_t, 256>> next;
  std::vector<bool> accepts;

  int states() const { return int(next.size()); }
  int add(bool accepting);
  void on(int from, int first, int last, int to);  // bytes [first, last]
};

/// Characters in a JSON string that need no escape: valid UTF-8 without quotes, backslashes and
/// control characters.
ByteAutomaton string_automaton();
/// -?(0|[1-9][0-9]*), not -0; without the sign, or from 1 on.
ByteAutomaton integer_automaton(bool may_be_negative, bool may_be_zero);
/// That and (\.[0-9]+)?
ByteAutomaton number_automaton(bool may_be_negative);

/// The tokens of a vocabulary as an automaton sees them: those of one class lead from each state to
/// the same one, by as many characters.
struct TokenClasses {
  /// `counted`: whether characters matter.
  TokenClasses(const TokenTexts& texts, ByteAutomaton automaton, bool counted);

  struct Class {
    std::vector<std::int8_t> next;  // by state
    int characters;
  };
  static constexpr std::uint16_t kNone = 0xffff;
  ByteAutomaton automaton;
  std::vector<Class> classes;
  std::vector<std::uint16_t> class_of;  // of each id; kNone: it leads nowhere
};

/// Texts that an automaton accepts, of so many characters (UTF-8).
class AutomatonLanguage final : public SlotLanguage {
 public:
  /// most -1: any number.
  AutomatonLanguage(std::shared_ptr<const TokenClasses> classes, std::int64_t least,
                    std::int64_t most, std::int32_t filler);
  bool fits(std::span<const std::int32_t> slot) const override;
  std::vector<TokenBias> biases(std::span<const std::int32_t> slot) const override;

 private:
  /// Numbers of characters, a bit each; the last stands for all from it on where there is no most.
  using Counts = std::vector<std::uint64_t>;
  /// Where one may be between two tokens of a slot: in a state after so many characters, or behind
  /// the end of the value.
  struct Places {
    std::vector<Counts> counts;  // by state
    bool ended = false;
  };

  Places nowhere() const;
  bool may_end(const Places& places) const;
  void add_ends(Places& places) const;
  Counts later(const Counts& counts, int characters) const;
  Counts earlier(const Counts& counts, int characters) const;
  Places after(const Places& places, std::int32_t token) const;
  Places before(const Places& places, std::int32_t token) const;
  void advance(Places& to, const Places& from, std::size_t number) const;
  void retreat(Places& to, const Places& from, std::size_t number) const;
  bool leads(const Places& from, const Places& to, std::size_t number) const;
  TokenBias bias(const std::vector<bool>& allowed, bool filler) const;

  const std::shared_ptr<const TokenClasses> classes_;
  const std::int64_t least_, limit_;  // Counts has limit_ + 1 bits
  const bool counted_, saturates_;
  const std::int32_t filler_;
  // What biases() made, by the classes that are allowed and whether the filler is.
  mutable std::map<std::pair<std::vector<bool>, bool>, TokenBias> made_;
};

}  // namespace lacuna
