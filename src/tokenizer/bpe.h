#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/merge_table.h"

namespace lacuna {

/// A thread's own memory for Bpe::encode: what words became when they were last seen.
class BpeScratch {
 private:
  friend class Bpe;

  // One cache line. Longer words, and such as give more tokens, are not kept.
  struct alignas(64) CachedWord {
    static constexpr std::size_t kBytes = 21, kTokens = 10;
    std::uint8_t bytes = 0, tokens = 0;  // bytes == 0: empty
    char text[kBytes + 1];
    std::int32_t ids[kTokens];
  };
  static_assert(sizeof(CachedWord) == 64);
  static constexpr std::size_t kCachedWords = std::size_t{1} << 15;  // 2 MiB

  struct Symbol {
    std::int32_t token;
    std::int32_t previous, next;  // -1: none
  };
  struct Candidate {
    std::int32_t rank, position, left, right;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  std::vector<CachedWord> cache_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

/// Byte-pair encoding (Sennrich et al., arXiv:1508.07909) of one word's bytes: of all neighbours
/// that merge, those of the lowest rank do, the leftmost first, until none is left.
class Bpe {
 public:
  /// `byte_tokens`: the token of each byte, -1 where there is none. `whole_words`: words that are
  /// tokens as they stand, whatever the merges say (ignore_merges), by their bytes.
  Bpe(const std::array<std::int32_t, 256>& byte_tokens, MergeTable merges,
      std::unordered_map<std::string, std::int32_t> whole_words = {});

  /// Appends the tokens of `word`, which must not be empty. Time grows as n log n with its length.
  /// Throws Error for a byte without a token.
  void encode(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& out) const;
  /// Appends the token of a byte.
  void encode_byte(unsigned char byte, std::vector<std::int32_t>& out) const {
    out.push_back(token_of(byte));
  }

 private:
  std::int32_t token_of(unsigned char byte) const;
  void merge_short(std::string_view word, std::vector<std::int32_t>& out) const;
  void merge_long(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& out) const;

  std::array<std::int32_t, 256> byte_tokens_;
  MergeTable merges_;
  std::unordered_map<std::string, std::int32_t> whole_words_;
};

}  // namespace lacuna
