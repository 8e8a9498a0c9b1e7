#include "structured/slot_language.h"

#include <gtest/gtest.h>

#include <set>

#include "core/half.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr std::int32_t kOpen = TokenConstraint::kMasked;

/// All that a slot may become, by trying every token everywhere.
class Enumerated {
 public:
  Enumerated(const TokenTexts& texts, std::int32_t filler,
             std::function<bool(const std::string&)> accepts)
      : texts_(texts), filler_(filler), accepts_(std::move(accepts)) {}

  bool valid(const std::vector<std::int32_t>& slot) const {
    std::string text;
    bool ended = false;
    for (const std::int32_t token : slot) {
      if (token == filler_) {
        ended = true;
        continue;
      }
      if (ended || texts_[std::size_t(token)].empty()) return false;
      text += texts_[std::size_t(token)];
    }
    return accepts_(text);
  }
  bool fits(std::vector<std::int32_t> slot) const {
    const auto open = std::find(slot.begin(), slot.end(), kOpen);
    if (open == slot.end()) return valid(slot);
    for (std::int32_t token = 0; token < std::int32_t(texts_.size()); ++token) {
      *open = token;
      if (fits(slot)) return true;
    }
    return false;
  }

 private:
  const TokenTexts& texts_;
  const std::int32_t filler_;
  const std::function<bool(const std::string&)> accepts_;
};

/// Compares what a language says of every slot of `length` tokens, masks among them, with what
/// enumeration finds.
void compare(const SlotLanguage& language, const Enumerated& all, std::int32_t tokens,
             std::size_t length) {
  std::vector<std::int32_t> slot(length, kOpen);
  std::int64_t open_slots = 0;
  for (;;) {
    const bool fits = all.fits(slot);
    ASSERT_EQ(language.fits(slot), fits) << ::testing::PrintToString(slot);
    if (fits) {
      const std::vector<TokenBias> biases = language.biases(slot);
      for (std::size_t i = 0; i < length; ++i) {
        ASSERT_EQ(biases[i] != nullptr, slot[i] == kOpen);
        if (!biases[i]) continue;
        ++open_slots;
        for (std::int32_t token = 0; token < tokens; ++token) {
          std::vector<std::int32_t> with = slot;
          with[i] = token;
          ASSERT_EQ(to_float((*biases[i])[std::size_t(token)]) == 0, all.fits(with))
              << ::testing::PrintToString(slot) << " at " << i << " token " << token;
        }
      }
    }
    std::size_t at = 0;
    while (at < length && ++slot[at] == tokens) slot[at++] = kOpen;
    if (at == length) break;
  }
  EXPECT_GT(open_slots, 0);
}

bool is_integer(const std::string& text, bool negative) {
  std::string digits = text;
  if (negative && digits.starts_with('-')) {
    digits.erase(0, 1);
    if (digits == "0") return false;
  }
  if (digits.empty() || (digits[0] == '0' && digits.size() > 1)) return false;
  return digits.find_first_not_of("0123456789") == std::string::npos;
}

TEST(SlotLanguage, IntegersAreWhatEnumerationFinds) {
  const TokenTexts texts = {"0", "7", "-", "10", "-5", ".", "", "a", "01"};
  const std::int32_t filler = 6;
  for (const bool negative : {true, false}) {
    const auto classes =
        std::make_shared<TokenClasses>(texts, integer_automaton(negative, true), true);
    for (const std::int64_t most : {2, 3, 9}) {
      const AutomatonLanguage language(classes, 0, most, filler);
      const Enumerated all(texts, filler, [&](const std::string& text) {
        return is_integer(text, negative) && std::int64_t(text.size()) <= most;
      });
      compare(language, all, std::int32_t(texts.size()), 3);
    }
  }
}

TEST(SlotLanguage, NumbersAreWhatEnumerationFinds) {
  const TokenTexts texts = {"0", "12", "-", ".", "0.", ".5", "", "-0"};
  const std::int32_t filler = 6;
  const AutomatonLanguage language(
      std::make_shared<TokenClasses>(texts, number_automaton(true), false), 0, -1, filler);
  const Enumerated all(texts, filler, [](std::string text) {
    if (text.starts_with('-')) text.erase(0, 1);
    const std::size_t point = text.find('.');
    if (!is_integer(text.substr(0, point), false)) return false;
    if (point == std::string::npos) return true;
    const std::string fraction = text.substr(point + 1);
    return !fraction.empty() && fraction.find_first_not_of("0123456789") == std::string::npos;
  });
  compare(language, all, std::int32_t(texts.size()), 3);
}

/// Characters, or -1 where it is no UTF-8 or needs an escape.
int characters(const std::string& text) {
  int count = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = std::uint8_t(text[i]);
    if (byte < 0x20 || byte == '"' || byte == '\\') return -1;
    const std::size_t length = byte < 0x80                   ? 1
                               : byte >= 0xc2 && byte < 0xe0 ? 2
                               : byte == 0xe2                ? 3
                                                             : 0;
    if (length == 0 || i + length > text.size()) return -1;
    for (std::size_t k = 1; k < length; ++k)
      if ((text[i + k] & 0xc0) != 0x80) return -1;
    i += length;
    ++count;
  }
  return count;
}

// Characters may be divided among tokens, and are counted as such.
TEST(SlotLanguage, StringsAreWhatEnumerationFinds) {
  const TokenTexts texts = {"a",
                            "bcd",
                            "\xc3",
                            "\xa4",
                            "\xa4"
                            "e",
                            "\xe2\x82",
                            "\"",
                            "\n",
                            "",
                            "\\"};
  const std::int32_t filler = 8;
  for (const auto& [least, most] : {std::pair(0, -1), {0, 3}, {2, -1}, {2, 4}, {3, 3}}) {
    const AutomatonLanguage language(
        std::make_shared<TokenClasses>(texts, string_automaton(), least > 0 || most >= 0), least,
        most, filler);
    const Enumerated all(texts, filler, [&, l = least, m = most](const std::string& text) {
      const int n = characters(text);
      return n >= l && (m < 0 || n <= m);
    });
    compare(language, all, std::int32_t(texts.size()), 3);
  }
}

// Sets of counts have more than a word.
TEST(SlotLanguage, CountsOfManyCharactersAreWhatEnumerationFinds) {
  TokenTexts texts = {"", "\""};
  for (const std::size_t length : {1, 38, 63, 64, 65, 129}) texts.emplace_back(length, 'a');
  const std::int32_t filler = 0;
  for (const auto& [least, most] :
       {std::pair(63, -1), {64, -1}, {128, -1}, {200, -1}, {0, 64}, {102, 127}, {128, 193}}) {
    const AutomatonLanguage language(
        std::make_shared<TokenClasses>(texts, string_automaton(), true), least, most, filler);
    const Enumerated all(texts, filler, [&, l = least, m = most](const std::string& text) {
      const int n = characters(text);
      return n >= l && (m < 0 || n <= m);
    });
    compare(language, all, std::int32_t(texts.size()), 3);
  }
}

TEST(SlotLanguage, ChoicesAreWhatEnumerationFinds) {
  const TokenTexts texts = {"a", "b", "ab", "c", ""};
  const std::int32_t filler = 4;
  const ChoiceLanguage language({{0, 1}, {0}, {1, 0, 3}, {0, 1, 3}}, filler, 5);
  EXPECT_EQ(language.longest(), 3);
  const std::set<std::vector<std::int32_t>> slots = {{0, 1, 4}, {0, 4, 4}, {1, 0, 3}, {0, 1, 3}};
  std::vector<std::int32_t> slot(3, kOpen);
  const auto fits = [&](const std::vector<std::int32_t>& of) {
    return std::any_of(slots.begin(), slots.end(), [&](const std::vector<std::int32_t>& full) {
      for (std::size_t i = 0; i < 3; ++i)
        if (of[i] != kOpen && of[i] != full[i]) return false;
      return true;
    });
  };
  for (;;) {
    ASSERT_EQ(language.fits(slot), fits(slot));
    const std::vector<TokenBias> biases = language.biases(slot);
    for (std::size_t i = 0; i < 3; ++i)
      for (std::int32_t token = 0; token < 5 && biases[i]; ++token) {
        std::vector<std::int32_t> with = slot;
        with[i] = token;
        ASSERT_EQ(to_float((*biases[i])[std::size_t(token)]) == 0, fits(with));
      }
    std::size_t at = 0;
    while (at < 3 && ++slot[at] == 5) slot[at++] = kOpen;
    if (at == 3) break;
  }
}

// Unicode's table of well-formed UTF-8, two bytes of it.
TEST(SlotLanguage, SurrogatesAndOverlongFormsAreNoCharacters) {
  const ByteAutomaton a = string_automaton();
  const auto accepts = [&](const std::string& text) {
    int state = 0;
    for (const char byte : text)
      if (state >= 0) state = a.next[std::size_t(state)][std::uint8_t(byte)];
    return state >= 0 && a.accepts[std::size_t(state)];
  };
  for (const char* valid : {"", "a b", "\x7f", "\xc3\xa4", "\xe0\xa0\x80", "\xed\x9f\xbf",
                            "\xef\xbf\xbd", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(accepts(valid)) << valid;
  for (const char* invalid : {"\x1f", "\"", "\\", "\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf",
                              "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5"})
    EXPECT_FALSE(accepts(invalid)) << invalid;
}

}  // namespace
}  // namespace lacuna
