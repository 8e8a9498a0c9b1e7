#include "structured/slot_language.h"

#include <algorithm>
#include <limits>

#include "core/half.h"

namespace lacuna {
namespace {

constexpr std::int32_t kMaskedToken = TokenConstraint::kMasked;
constexpr std::size_t kMostMade = 64;

// Sets of numbers from 0 on, 64 a word.
using BitSet = std::vector<std::uint64_t>;

bool is_empty(const BitSet& set) {
  return std::all_of(set.begin(), set.end(), [](std::uint64_t bits) { return bits == 0; });
}

/// The bits of a word that stand for numbers from `first` on.
std::uint64_t bits_from(std::size_t word, std::int64_t first) {
  const std::int64_t at = first - std::int64_t(word) * 64;
  return at <= 0 ? ~std::uint64_t{0} : at < 64 ? ~std::uint64_t{0} << at : 0;
}

bool any_from(const BitSet& set, std::int64_t first) {
  for (std::size_t word = 0; word < set.size(); ++word)
    if (set[word] & bits_from(word, first)) return true;
  return false;
}

/// Adds the numbers from `first` to `last`, the largest that the set may hold.
void add_from(BitSet& set, std::int64_t first, std::int64_t last) {
  for (std::size_t word = 0; word < set.size(); ++word)
    set[word] |= bits_from(word, first) & ~bits_from(word, last + 1);
}

/// Each number plus `by`, as far as the set has words for it.
BitSet increased(const BitSet& set, std::int64_t by) {
  BitSet to(set.size());
  const auto words = std::size_t(by / 64), bits = std::size_t(by % 64);
  for (std::size_t word = words; word < set.size(); ++word) {
    to[word] = set[word - words] << bits;
    if (bits > 0 && word > words) to[word] |= set[word - words - 1] >> (64 - bits);
  }
  return to;
}

/// Each number minus `by`; without those less than `by`.
BitSet decreased(const BitSet& set, std::int64_t by) {
  BitSet to(set.size());
  const auto words = std::size_t(by / 64), bits = std::size_t(by % 64);
  for (std::size_t word = words; word < set.size(); ++word) {
    to[word - words] = set[word] >> bits;
    if (bits > 0 && word + 1 < set.size()) to[word - words] |= set[word + 1] << (64 - bits);
  }
  return to;
}

/// -inf for every token.
std::vector<BFloat16> nothing_allowed(std::size_t tokens) {
  return std::vector<BFloat16>(tokens, to_bf16(-std::numeric_limits<float>::infinity()));
}

}  // namespace

// --- choices

ChoiceLanguage::ChoiceLanguage(std::vector<std::vector<std::int32_t>> choices, std::int32_t filler,
                               std::int64_t vocab_size)
    : choices_(std::move(choices)), filler_(filler), vocab_size_(vocab_size) {}

std::int64_t ChoiceLanguage::longest() const {
  std::size_t most = 0;
  for (const std::vector<std::int32_t>& choice : choices_) most = std::max(most, choice.size());
  return std::int64_t(most);
}

std::int32_t ChoiceLanguage::token(std::size_t choice, std::size_t at) const {
  return at < choices_[choice].size() ? choices_[choice][at] : filler_;
}

std::vector<std::size_t> ChoiceLanguage::possible(std::span<const std::int32_t> slot) const {
  std::vector<std::size_t> found;
  for (std::size_t c = 0; c < choices_.size(); ++c) {
    bool fits = choices_[c].size() <= slot.size();
    for (std::size_t i = 0; i < slot.size() && fits; ++i)
      fits = slot[i] == kMaskedToken || slot[i] == token(c, i);
    if (fits) found.push_back(c);
  }
  return found;
}

bool ChoiceLanguage::fits(std::span<const std::int32_t> slot) const {
  return !possible(slot).empty();
}

std::vector<TokenBias> ChoiceLanguage::biases(std::span<const std::int32_t> slot) const {
  const std::vector<std::size_t> choices = possible(slot);
  std::vector<TokenBias> biases(slot.size());
  for (std::size_t i = 0; i < slot.size(); ++i) {
    if (slot[i] != kMaskedToken) continue;
    auto bias = std::make_shared<std::vector<BFloat16>>(nothing_allowed(std::size_t(vocab_size_)));
    for (const std::size_t c : choices) (*bias)[std::size_t(token(c, i))] = to_bf16(0);
    biases[i] = std::move(bias);
  }
  return biases;
}

// --- automata

AutomatonLanguage::AutomatonLanguage(std::shared_ptr<const TokenClasses> classes,
                                     std::int64_t least, std::int64_t most, std::int32_t filler)
    : classes_(std::move(classes)),
      least_(least),
      limit_(most >= 0 ? most : least),
      counted_(most >= 0 || least > 0),
      saturates_(most < 0),
      filler_(filler) {}

AutomatonLanguage::Places AutomatonLanguage::nowhere() const {
  return {std::vector<Counts>(std::size_t(classes_->automaton.states()),
                              Counts(std::size_t(limit_ / 64 + 1))),
          false};
}

/// counts shifted up; what exceeds the limit is lost or, where it saturates, stands at it.
AutomatonLanguage::Counts AutomatonLanguage::later(const Counts& counts, int characters) const {
  if (!counted_ || characters == 0) return counts;
  Counts to = increased(counts, characters);
  to.back() &= ~bits_from(to.size() - 1, limit_ + 1);
  if (saturates_ && any_from(counts, limit_ - characters)) add_from(to, limit_, limit_);
  return to;
}

/// The counts that later() takes into these.
AutomatonLanguage::Counts AutomatonLanguage::earlier(const Counts& counts, int characters) const {
  if (!counted_ || characters == 0) return counts;
  Counts to = decreased(counts, characters);
  if (saturates_ && any_from(counts, limit_)) add_from(to, limit_ - characters, limit_);
  return to;
}

/// Whether a value may end here, or has ended before.
bool AutomatonLanguage::may_end(const Places& places) const {
  if (places.ended) return true;
  for (std::size_t state = 0; state < places.counts.size(); ++state)
    if (classes_->automaton.accepts[state] && any_from(places.counts[state], least_)) return true;
  return false;
}

/// Adds the places where a value may end.
void AutomatonLanguage::add_ends(Places& places) const {
  for (std::size_t state = 0; state < places.counts.size(); ++state)
    if (classes_->automaton.accepts[state]) add_from(places.counts[state], least_, limit_);
}

/// Adds to `to` where a token of a class leads from `from`.
void AutomatonLanguage::advance(Places& to, const Places& from, std::size_t number) const {
  const TokenClasses::Class& c = classes_->classes[number];
  for (std::size_t state = 0; state < c.next.size(); ++state) {
    if (c.next[state] < 0 || is_empty(from.counts[state])) continue;
    const Counts moved = later(from.counts[state], c.characters);
    Counts& there = to.counts[std::size_t(c.next[state])];
    for (std::size_t w = 0; w < moved.size(); ++w) there[w] |= moved[w];
  }
}

/// Adds to `to` from where one leads into `from`.
void AutomatonLanguage::retreat(Places& to, const Places& from, std::size_t number) const {
  const TokenClasses::Class& c = classes_->classes[number];
  for (std::size_t state = 0; state < c.next.size(); ++state) {
    if (c.next[state] < 0 || is_empty(from.counts[std::size_t(c.next[state])])) continue;
    const Counts moved = earlier(from.counts[std::size_t(c.next[state])], c.characters);
    for (std::size_t w = 0; w < moved.size(); ++w) to.counts[state][w] |= moved[w];
  }
}

bool AutomatonLanguage::leads(const Places& from, const Places& to, std::size_t number) const {
  const TokenClasses::Class& c = classes_->classes[number];
  for (std::size_t state = 0; state < c.next.size(); ++state) {
    if (c.next[state] < 0 || is_empty(from.counts[state])) continue;
    const Counts moved = later(from.counts[state], c.characters);
    const Counts& there = to.counts[std::size_t(c.next[state])];
    for (std::size_t w = 0; w < moved.size(); ++w)
      if (moved[w] & there[w]) return true;
  }
  return false;
}

AutomatonLanguage::Places AutomatonLanguage::after(const Places& places, std::int32_t token) const {
  Places to = nowhere();
  if (token == kMaskedToken)
    for (std::size_t number = 0; number < classes_->classes.size(); ++number)
      advance(to, places, number);
  else if (token != filler_ && classes_->class_of[std::size_t(token)] != TokenClasses::kNone)
    advance(to, places, classes_->class_of[std::size_t(token)]);
  if (token == kMaskedToken || token == filler_) to.ended = may_end(places);
  return to;
}

AutomatonLanguage::Places AutomatonLanguage::before(const Places& places,
                                                    std::int32_t token) const {
  Places to = nowhere();
  if (token == kMaskedToken)
    for (std::size_t number = 0; number < classes_->classes.size(); ++number)
      retreat(to, places, number);
  else if (token != filler_ && classes_->class_of[std::size_t(token)] != TokenClasses::kNone)
    retreat(to, places, classes_->class_of[std::size_t(token)]);
  if ((token == kMaskedToken || token == filler_) && places.ended) {
    to.ended = true;
    add_ends(to);
  }
  return to;
}

bool AutomatonLanguage::fits(std::span<const std::int32_t> slot) const {
  Places places = nowhere();
  places.counts[0][0] = 1;
  for (const std::int32_t token : slot) places = after(places, token);
  return may_end(places);
}

TokenBias AutomatonLanguage::bias(const std::vector<bool>& allowed, bool filler) const {
  auto bias = std::make_shared<std::vector<BFloat16>>(nothing_allowed(classes_->class_of.size()));
  for (std::size_t id = 0; id < bias->size(); ++id) {
    const std::uint16_t number = classes_->class_of[id];
    if (number != TokenClasses::kNone && allowed[number]) (*bias)[id] = to_bf16(0);
  }
  if (filler) (*bias)[std::size_t(filler_)] = to_bf16(0);
  return bias;
}

std::vector<TokenBias> AutomatonLanguage::biases(std::span<const std::int32_t> slot) const {
  std::vector<Places> behind(slot.size() + 1);  // from where the slot's rest can be filled
  behind.back() = nowhere();
  behind.back().ended = true;
  add_ends(behind.back());
  for (std::size_t i = slot.size(); i-- > 0;) behind[i] = before(behind[i + 1], slot[i]);
  std::vector<TokenBias> biases(slot.size());
  if (made_.size() > kMostMade) made_.clear();
  Places places = nowhere();
  places.counts[0][0] = 1;
  for (std::size_t i = 0; i < slot.size(); ++i) {
    if (slot[i] == kMaskedToken) {
      std::vector<bool> allowed(classes_->classes.size());
      for (std::size_t number = 0; number < allowed.size(); ++number)
        allowed[number] = leads(places, behind[i + 1], number);
      const bool filler = may_end(places) && behind[i + 1].ended;
      TokenBias& known = made_[{allowed, filler}];
      if (!known) known = bias(allowed, filler);
      biases[i] = known;
    }
    places = after(places, slot[i]);
  }
  return biases;
}

}  // namespace lacuna
