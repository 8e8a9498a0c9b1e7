#include "tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <unordered_map>

#include "core/check.h"
#include "tokenizer/byte_alphabet.h"

namespace lacuna {
namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;

struct PairHash {
  std::size_t operator()(const Pair& p) const {
    const auto key = std::uint64_t{std::uint32_t(p.first)} << 32 | std::uint32_t(p.second);
    return std::size_t((key * 0x9E3779B97F4A7C15u) >> 16);
  }
};

/// A word as tokens, which grow fewer in place.
struct Word {
  std::size_t begin;
  std::size_t length;
  std::int64_t count;
};

/// Where a pair of neighbours stands.
struct Occurrences {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words;  // at least those that have it, perhaps repeated
};

struct Candidate {
  std::int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

constexpr std::int64_t kProgressEvery = 64;

class Trainer {
 public:
  Trainer(const std::vector<WordCount>& words, std::int64_t min_count) : min_count_(min_count) {
    CHECK(words.size() < std::size_t{1} << 32, words.size(), " different words are too many");
    add_bytes();
    std::size_t bytes = 0;
    for (const WordCount& word : words) bytes += word.word.size();
    symbols_.reserve(bytes);
    words_.reserve(words.size());
    for (const WordCount& word : words) {
      words_.push_back({symbols_.size(), word.word.size(), word.count});
      for (const char b : word.word) symbols_.push_back(byte_token_[static_cast<unsigned char>(b)]);
    }
    for (std::size_t w = 0; w < words_.size(); ++w)
      for (std::size_t i = 0; i + 1 < words_[w].length; ++i) {
        const std::int32_t* at = &symbols_[words_[w].begin + i];
        add(Pair(at[0], at[1]), w);
      }
    for (const auto& [pair, where] : pairs_) candidates_.push({where.count, pair});
    grown_.clear();
  }

  LearnedBpe learn(std::int64_t tokens, const std::function<void(std::int64_t)>& progress) {
    while (std::int64_t(result_.tokens.size()) < tokens && !candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      const std::int64_t count = pairs_[best.pair].count;
      if (count != best.count) {  // fewer since; of more, another candidate tells
        if (count > 0 && count < best.count) candidates_.push({count, best.pair});
        continue;
      }
      if (count < min_count_) break;
      result_.merges.push_back(best.pair);
      const std::int32_t token = token_of(best.pair);
      rules_[best.pair] = {std::int32_t(result_.merges.size()), token};
      merge(best.pair, token);
      merge_known_again();
      if (progress && std::int64_t(result_.tokens.size()) % kProgressEvery == 0)
        progress(std::int64_t(result_.tokens.size()));
    }
    for (const Word& word : words_) result_.corpus_tokens += word.count * std::int64_t(word.length);
    return std::move(result_);
  }

 private:
  struct Rule {
    std::int32_t rank, token;
  };

  void add_bytes() {
    std::map<CodePoint, int> by_character;
    for (int b = 0; b < 256; ++b)
      by_character[character_of_byte(static_cast<unsigned char>(b))] = b;
    for (const auto& [character, b] : by_character) {
      byte_token_[std::size_t(b)] = std::int32_t(result_.tokens.size());
      add_token(std::string(1, char(b)));
    }
  }
  std::int32_t add_token(std::string bytes) {
    const auto id = std::int32_t(result_.tokens.size());
    ids_.emplace(bytes, id);
    result_.tokens.push_back(std::move(bytes));
    return id;
  }
  // Two pairs may spell the same token.
  std::int32_t token_of(const Pair& pair) {
    std::string bytes = result_.tokens[std::size_t(pair.first)];
    bytes += result_.tokens[std::size_t(pair.second)];
    const auto found = ids_.find(bytes);
    return found != ids_.end() ? found->second : add_token(std::move(bytes));
  }

  void add(const Pair& pair, std::size_t word) {
    Occurrences& where = pairs_[pair];
    where.count += words_[word].count;
    const auto w = std::uint32_t(word);
    if (where.words.empty() || where.words.back() != w) where.words.push_back(w);
    grown_.push_back(pair);
  }
  void remove(const Pair& pair, std::size_t word) { pairs_[pair].count -= words_[word].count; }

  // Every `pair` becomes `token`, from the left in each word.
  void merge(const Pair& pair, std::int32_t token) {
    const std::vector<std::uint32_t> words = std::move(pairs_[pair].words);
    grown_.clear();
    for (const std::uint32_t w : words) merge_in(w, pair, token);
    pairs_[pair] = {};
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const Pair& grown : grown_) {
      const std::int64_t count = pairs_[grown].count;
      if (count <= 0) continue;
      if (const auto rule = rules_.find(grown); rule != rules_.end())
        again_[rule->second.rank] = grown;
      else
        candidates_.push({count, grown});
    }
  }

  void merge_in(std::size_t w, const Pair& pair, std::int32_t token) {
    Word& word = words_[w];
    std::int32_t* const s = &symbols_[word.begin];
    std::size_t out = 0;
    for (std::size_t i = 0; i < word.length; ++out) {
      if (i + 1 == word.length || s[i] != pair.first || s[i + 1] != pair.second) {
        s[out] = s[i++];
        continue;
      }
      if (out > 0) {
        remove({s[out - 1], pair.first}, w);
        add({s[out - 1], token}, w);
      }
      if (i + 2 < word.length) {
        remove({pair.second, s[i + 2]}, w);
        add({token, s[i + 2]}, w);
      }
      s[out] = token;
      i += 2;
    }
    word.length = out;
  }

  // In the order in which encoding would.
  void merge_known_again() {
    while (!again_.empty()) {
      const Pair pair = again_.begin()->second;
      again_.erase(again_.begin());
      merge(pair, rules_.at(pair).token);
    }
  }

  std::int64_t min_count_;
  LearnedBpe result_;
  std::array<std::int32_t, 256> byte_token_{};
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<std::int32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Occurrences, PairHash> pairs_;
  std::priority_queue<Candidate> candidates_;  // with counts that may since have fallen
  std::unordered_map<Pair, Rule, PairHash> rules_;
  std::map<std::int32_t, Pair> again_;  // by rank: pairs with rules that came up again
  std::vector<Pair> grown_;
};

}  // namespace

LearnedBpe learn_bpe(const std::vector<WordCount>& words, std::int64_t tokens,
                     std::int64_t min_count, const std::function<void(std::int64_t)>& progress) {
  return Trainer(words, min_count).learn(tokens, progress);
}

}  // namespace lacuna
