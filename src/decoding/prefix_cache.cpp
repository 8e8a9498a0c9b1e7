#include "decoding/prefix_cache.h"

#include <algorithm>
#include <iterator>

namespace lacuna {
namespace {

std::int64_t common_beginning(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  const std::size_t most = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + std::ptrdiff_t(most), b.begin()).first - a.begin();
}

}  // namespace

PrefixCache::PrefixCache(std::int64_t first, std::int64_t rows)
    : first_(first), rows_(rows), slabs_(rows) {}

PrefixCache::Found PrefixCache::find(std::span<const std::int32_t> tokens) {
  Found found;
  auto best = texts_.end();
  for (auto text = texts_.begin(); text != texts_.end(); ++text)
    if (const std::int64_t count = common_beginning(text->tokens, tokens); count > found.count) {
      found = {count, first_ + text->rows.begin};
      best = text;
    }
  if (best != texts_.end()) texts_.splice(texts_.begin(), texts_, best);
  return found;
}

std::optional<CacheRows> PrefixCache::add(std::span<const std::int32_t> tokens) {
  tokens = tokens.first(std::min(tokens.size(), std::size_t(rows_)));
  const auto length = std::int64_t(tokens.size());
  if (length == 0 || find(tokens).count == length) return std::nullopt;
  for (auto text = texts_.begin(); text != texts_.end();) {
    const auto next = std::next(text);
    // The new text says all that this one does.
    if (common_beginning(text->tokens, tokens) == std::int64_t(text->tokens.size())) drop(text);
    text = next;
  }
  std::optional<CacheRows> rows = slabs_.take(length);
  while (!rows) {
    drop(std::prev(texts_.end()));
    rows = slabs_.take(length);
  }
  texts_.push_front({{tokens.begin(), tokens.end()}, *rows});
  const auto first = std::int32_t(first_);
  return CacheRows{first + rows->begin, first + rows->end};
}

void PrefixCache::drop(std::list<Kept>::iterator text) {
  slabs_.give_back(text->rows);
  texts_.erase(text);
}

}  // namespace lacuna
