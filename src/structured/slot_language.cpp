#include "structured/slot_language.h"

#include <algorithm>
#include <limits>

#include "core/half.h"

namespace lacuna {
namespace {

constexpr std::int32_t kMaskedToken = TokenConstraint::kMasked;
constexpr std::size_t kMostMade = 64;

bool is_empty(const std::vector<std::uint64_t>& counts) {
  return std::all_of(counts.begin(), counts.end(), [](std::uint64_t bits) { return bits == 0; });
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
  Counts to(counts.size());
  for (std::int64_t n = 0; n <= limit_; ++n) {
    if (!(counts[std::size_t(n / 64)] >> (n % 64) & 1u)) continue;
    const std::int64_t m = saturates_ ? std::min(limit_, n + characters) : n + characters;
    if (m <= limit_) to[std::size_t(m / 64)] |= std::uint64_t{1} << (m % 64);
  }
  return to;
}

/// The counts that later() takes into these.
AutomatonLanguage::Counts AutomatonLanguage::earlier(const Counts& counts, int characters) const {
  if (!counted_ || characters == 0) return counts;
  Counts to(counts.size());
  for (std::int64_t n = 0; n <= limit_; ++n) {
    const std::int64_t m = saturates_ ? std::min(limit_, n + characters) : n + characters;
    if (m <= limit_ && (counts[std::size_t(m / 64)] >> (m % 64) & 1u))
      to[std::size_t(n / 64)] |= std::uint64_t{1} << (n % 64);
  }
  return to;
}

/// Whether a value may end here, or has ended before.
bool AutomatonLanguage::may_end(const Places& places) const {
  if (places.ended) return true;
  for (std::size_t state = 0; state < places.counts.size(); ++state)
    if (classes_->automaton.accepts[state])
      for (std::int64_t n = least_; n <= limit_; ++n)
        if (places.counts[state][std::size_t(n / 64)] >> (n % 64) & 1u) return true;
  return false;
}

/// Adds the places where a value may end.
void AutomatonLanguage::add_ends(Places& places) const {
  for (std::size_t state = 0; state < places.counts.size(); ++state)
    if (classes_->automaton.accepts[state])
      for (std::int64_t n = least_; n <= limit_; ++n)
        places.counts[state][std::size_t(n / 64)] |= std::uint64_t{1} << (n % 64);
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
