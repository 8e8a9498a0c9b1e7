#include <map>
#include <utility>

#include "structured/slot_language.h"
#include "tokenizer/unicode.h"

namespace lacuna {

std::int64_t characters_of(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) count += begins_character(text, i);
  return count;
}

int ByteAutomaton::add(bool accepting) {
  next.emplace_back();
  next.back().fill(kDead);
  accepts.push_back(accepting);
  return states() - 1;
}

void ByteAutomaton::on(int from, int first, int last, int to) {
  for (int byte = first; byte <= last; ++byte)
    next[std::size_t(from)][std::size_t(byte)] = std::int8_t(to);
}

ByteAutomaton string_automaton() {
  ByteAutomaton a;
  const int ground = a.add(true), one = a.add(false), two = a.add(false), three = a.add(false),
            after_e0 = a.add(false), after_ed = a.add(false), after_f0 = a.add(false),
            after_f4 = a.add(false);
  a.on(ground, 0x20, 0x7f, ground);
  a.on(ground, '"', '"', ByteAutomaton::kDead);
  a.on(ground, '\\', '\\', ByteAutomaton::kDead);
  // Unicode's table 3-7: neither overlong forms, nor surrogates, nor what is above U+10FFFF.
  a.on(ground, 0xc2, 0xdf, one);
  a.on(ground, 0xe1, 0xef, two);
  a.on(ground, 0xe0, 0xe0, after_e0);
  a.on(ground, 0xed, 0xed, after_ed);
  a.on(ground, 0xf1, 0xf3, three);
  a.on(ground, 0xf0, 0xf0, after_f0);
  a.on(ground, 0xf4, 0xf4, after_f4);
  a.on(one, 0x80, 0xbf, ground);
  a.on(two, 0x80, 0xbf, one);
  a.on(three, 0x80, 0xbf, two);
  a.on(after_e0, 0xa0, 0xbf, one);
  a.on(after_ed, 0x80, 0x9f, one);
  a.on(after_f0, 0x90, 0xbf, two);
  a.on(after_f4, 0x80, 0x8f, two);
  return a;
}

ByteAutomaton integer_automaton(bool may_be_negative, bool may_be_zero) {
  ByteAutomaton a;
  const int begin = a.add(false), digits = a.add(true);
  a.on(begin, '1', '9', digits);
  a.on(digits, '0', '9', digits);
  if (may_be_zero) a.on(begin, '0', '0', a.add(true));
  if (may_be_negative) {
    const int sign = a.add(false);
    a.on(begin, '-', '-', sign);
    a.on(sign, '1', '9', digits);
  }
  return a;
}

ByteAutomaton number_automaton(bool may_be_negative) {
  ByteAutomaton a;
  const int begin = a.add(false), digits = a.add(true), zero = a.add(true), point = a.add(false),
            fraction = a.add(true);
  a.on(begin, '1', '9', digits);
  a.on(begin, '0', '0', zero);
  a.on(digits, '0', '9', digits);
  a.on(digits, '.', '.', point);
  a.on(zero, '.', '.', point);
  a.on(point, '0', '9', fraction);
  a.on(fraction, '0', '9', fraction);
  if (may_be_negative) {
    const int sign = a.add(false);
    a.on(begin, '-', '-', sign);
    a.on(sign, '1', '9', digits);
    a.on(sign, '0', '0', zero);
  }
  return a;
}

TokenClasses::TokenClasses(const TokenTexts& texts, ByteAutomaton made, bool counted)
    : automaton(std::move(made)), class_of(texts.size(), kNone) {
  std::map<std::pair<std::vector<std::int8_t>, int>, std::uint16_t> numbers;
  for (std::size_t id = 0; id < texts.size(); ++id) {
    if (texts[id].empty()) continue;
    std::vector<std::int8_t> to(std::size_t(automaton.states()));
    bool leads = false;
    for (std::size_t state = 0; state < to.size(); ++state) {
      auto at = std::int8_t(state);
      for (const char byte : texts[id])
        if (at >= 0) at = automaton.next[std::size_t(at)][std::uint8_t(byte)];
      to[state] = at;
      leads = leads || at >= 0;
    }
    if (!leads) continue;
    const auto key = std::pair(std::move(to), counted ? int(characters_of(texts[id])) : 0);
    const auto [found, is_new] = numbers.try_emplace(key, std::uint16_t(classes.size()));
    if (is_new) classes.push_back({key.first, key.second});
    class_of[id] = found->second;
  }
}

}  // namespace lacuna
