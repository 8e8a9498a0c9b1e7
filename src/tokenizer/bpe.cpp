#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>

#include "core/check.h"

namespace lacuna {
namespace {

// Up to this many bytes, looking at all neighbours for the best is faster than a heap.
constexpr std::size_t kShort = 32;
constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();

std::uint64_t hash_of(std::string_view word) {  // of at most 21 bytes
  std::uint64_t h = word.size() * 0x9E3779B97F4A7C15u;
  const char* p = word.data();
  std::size_t left = word.size();
  const auto mix = [&h](std::uint64_t bytes) {
    h = (h ^ bytes) * 0xBF58476D1CE4E5B9u;
    h ^= h >> 29;
  };
  for (; left >= 8; p += 8, left -= 8) {
    std::uint64_t eight;
    std::memcpy(&eight, p, 8);
    mix(eight);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, p, left);
  mix(rest);
  return h ^ h >> 32;
}

}  // namespace

MergeTable::MergeTable(std::size_t merges)
    : entries_(std::bit_ceil(std::max<std::size_t>(16, merges * 2))),
      mask_(entries_.size() - 1),
      shift_(64 - std::countr_zero(entries_.size())) {}

void MergeTable::set(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t i = slot_of(key);
  while (entries_[i].key != kEmpty && entries_[i].key != key) i = (i + 1) & mask_;
  entries_[i] = {key, merge};
}

Bpe::Bpe(const std::array<std::int32_t, 256>& byte_tokens, MergeTable merges,
         std::unordered_map<std::string, std::int32_t> whole_words)
    : byte_tokens_(byte_tokens), merges_(std::move(merges)), whole_words_(std::move(whole_words)) {}

std::int32_t Bpe::token_of(unsigned char byte) const {
  CHECK(byte_tokens_[byte] >= 0, "the tokenizer's vocabulary has no token for byte ", int(byte));
  return byte_tokens_[byte];
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& out) const {
  using Cached = BpeScratch::CachedWord;
  if (!whole_words_.empty()) {
    const auto whole = whole_words_.find(std::string(word));
    if (whole != whole_words_.end()) return out.push_back(whole->second);
  }
  if (word.size() > Cached::kBytes) {
    word.size() <= kShort ? merge_short(word, out) : merge_long(word, scratch, out);
    return;
  }
  if (scratch.cache_.empty()) scratch.cache_.resize(BpeScratch::kCachedWords);
  Cached& entry = scratch.cache_[hash_of(word) & (BpeScratch::kCachedWords - 1)];
  if (entry.bytes == word.size() && std::memcmp(entry.text, word.data(), word.size()) == 0) {
    out.insert(out.end(), entry.ids, entry.ids + entry.tokens);
    return;
  }
  const std::size_t before = out.size();
  merge_short(word, out);
  const std::size_t tokens = out.size() - before;
  if (tokens > Cached::kTokens) return;
  entry.bytes = std::uint8_t(word.size());
  entry.tokens = std::uint8_t(tokens);
  std::memcpy(entry.text, word.data(), word.size());
  std::copy_n(out.data() + before, tokens, entry.ids);
}

void Bpe::merge_short(std::string_view word, std::vector<std::int32_t>& out) const {
  std::int32_t tokens[kShort];
  MergeTable::Merge merges[kShort];  // [i]: of tokens i and i + 1
  std::size_t n = word.size();
  for (std::size_t i = 0; i < n; ++i) tokens[i] = token_of(static_cast<unsigned char>(word[i]));
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = merges_.find(tokens[i], tokens[i + 1]);
  while (n > 1) {
    std::size_t best = 0;
    std::int32_t best_rank = kNever;
    for (std::size_t i = 0; i + 1 < n; ++i)
      if (merges[i] && merges[i].rank < best_rank) {
        best = i;
        best_rank = merges[i].rank;
      }
    if (best_rank == kNever) break;
    tokens[best] = merges[best].token;
    std::copy(tokens + best + 2, tokens + n, tokens + best + 1);
    if (best + 2 < n) std::copy(merges + best + 2, merges + n - 1, merges + best + 1);
    --n;
    if (best > 0) merges[best - 1] = merges_.find(tokens[best - 1], tokens[best]);
    if (best + 1 < n) merges[best] = merges_.find(tokens[best], tokens[best + 1]);
  }
  out.insert(out.end(), tokens, tokens + n);
}

void Bpe::merge_long(std::string_view word, BpeScratch& scratch,
                     std::vector<std::int32_t>& out) const {
  CHECK(word.size() < std::size_t(kNever), "a word of ", word.size(), " bytes is too long");
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  const auto n = std::int32_t(word.size());
  symbols.resize(word.size());
  heap.clear();
  const auto offer = [&](std::int32_t left) {
    const std::int32_t right = left < 0 ? -1 : symbols[std::size_t(left)].next;
    if (right < 0) return false;
    const std::int32_t a = symbols[std::size_t(left)].token, b = symbols[std::size_t(right)].token;
    const MergeTable::Merge merge = merges_.find(a, b);
    if (merge) heap.push_back({merge.rank, left, a, b});
    return bool(merge);
  };
  for (std::int32_t i = 0; i < n; ++i)
    symbols[std::size_t(i)] = {token_of(static_cast<unsigned char>(word[std::size_t(i)])), i - 1,
                               i + 1 < n ? i + 1 : -1};
  for (std::int32_t i = 0; i < n; ++i) offer(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const BpeScratch::Candidate best = heap.back();
    heap.pop_back();
    BpeScratch::Symbol& left = symbols[std::size_t(best.position)];
    if (left.token != best.left || left.next < 0) continue;  // merged away since
    BpeScratch::Symbol& right = symbols[std::size_t(left.next)];
    if (right.token != best.right) continue;
    left.token = merges_.find(best.left, best.right).token;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) symbols[std::size_t(left.next)].previous = best.position;
    for (const std::int32_t neighbour : {left.previous, best.position})
      if (offer(neighbour)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[std::size_t(i)].next)
    out.push_back(symbols[std::size_t(i)].token);
}

}  // namespace lacuna
