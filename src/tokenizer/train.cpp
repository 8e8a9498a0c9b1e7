#include "tokenizer/train.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/check.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/text.h"
#include "tokenizer/bpe_trainer.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pretokenizer.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kBytes = 256;
constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;  // what Tokenizer reads
// Read before the threads count it, for each of them.
constexpr std::size_t kBatchBytesPerThread = std::size_t{4} << 20;

const char* pattern_of(SplitPattern split) {
  return split == SplitPattern::gpt2 ? kGpt2Pattern : kLlama3Pattern;
}
Pretokenizer pretokenizer_of(SplitPattern split) {
  return Pretokenizer({{Regex(pattern_of(split)), SplitBehavior::isolated, false, false}});
}

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
/// How often each word was seen by one thread.
using Counts = std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>>;

void count(const Pretokenizer& pretokenizer, std::string_view text, SplitScratch& scratch,
           Counts& counts) {
  pretokenizer.split(text, scratch, [&](std::string_view word, std::size_t) {
    const auto known = counts.find(word);
    if (known != counts.end())
      ++known->second;
    else
      counts.emplace(word, 1);
  });
}

// In the order of their bytes, whatever thread saw them.
std::vector<WordCount> gather(std::vector<Counts>& by_thread) {
  Counts& all = by_thread[0];
  for (std::size_t t = 1; t < by_thread.size(); ++t) {
    for (const auto& [word, n] : by_thread[t]) all[word] += n;
    by_thread[t] = {};
  }
  std::vector<WordCount> words;
  words.reserve(all.size());
  for (const auto& [word, n] : all) words.push_back({word, n});
  all = {};
  std::sort(words.begin(), words.end(),
            [](const WordCount& a, const WordCount& b) { return a.word < b.word; });
  return words;
}

std::vector<WordCount> count_words(const NextPiece& next, const TrainTokenizerOptions& options,
                                   TrainedTokenizer& result) {
  const Pretokenizer pretokenizer = pretokenizer_of(options.split);
  ThreadPool pool(options.threads);
  std::vector<Counts> counts(std::size_t(pool.size()));
  std::vector<SplitScratch> scratch(counts.size());
  std::vector<std::string> batch;
  for (bool more = true; more;) {
    batch.clear();
    for (std::size_t bytes = 0; more && bytes < kBatchBytesPerThread * counts.size();) {
      std::string piece;
      more = next(piece);
      bytes += piece.size();
      if (!piece.empty()) batch.push_back(std::move(piece));
    }
    pool.for_each(std::int64_t(batch.size()), [&](std::int64_t i, int thread) {
      const auto t = std::size_t(thread);
      count(pretokenizer, batch[std::size_t(i)], scratch[t], counts[t]);
    });
    for (const std::string& piece : batch) result.bytes += std::int64_t(piece.size());
    log_progress(str("counting words: ", human_bytes(result.bytes), " read"));
  }
  std::vector<WordCount> words = gather(counts);
  for (const WordCount& word : words) result.words += word.count;
  result.different_words = std::int64_t(words.size());
  return words;
}

Json pre_tokenizer_json(SplitPattern split) {
  const bool gpt2 = split == SplitPattern::gpt2;
  Json byte_level = {{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", gpt2}};
  if (gpt2) return byte_level;
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", pattern_of(split)}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            byte_level}}};
}

std::string to_json(const LearnedBpe& bpe, SplitPattern split,
                    const std::vector<std::string>& specials) {
  Json::object_t vocab;  // filled as a list; looking keys up would be quadratic
  Json merges = Json::array(), added = Json::array();
  std::vector<std::string> texts;
  for (const std::string& token : bpe.tokens) {
    texts.push_back(to_byte_alphabet(token));
    vocab.emplace_back(texts.back(), texts.size() - 1);
  }
  // As one string each, which every version of the package reads.
  for (const auto& [left, right] : bpe.merges)
    merges.push_back(str(texts[std::size_t(left)], " ", texts[std::size_t(right)]));
  std::size_t id = texts.size();
  for (const std::string& special : specials) {
    if (std::find(texts.begin(), texts.end(), special) != texts.end())
      fail_usage(str("the special token ", special, " is also learned from the corpus"));
    added.push_back({{"id", id++},
                     {"content", special},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", pre_tokenizer_json(split)},
                     {"post_processor", nullptr},
                     {"decoder",
                      {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}}},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocab},
                       {"merges", merges}}}};
  return json.dump(2) + "\n";
}

std::vector<std::string> all_special_tokens(const TrainTokenizerOptions& options) {
  std::vector<std::string> all = special_tokens();
  all.insert(all.end(), options.special_tokens.begin(), options.special_tokens.end());
  return all;
}

}  // namespace

const std::vector<std::string>& special_tokens() {
  static const std::vector<std::string> tokens = {
      "<|mdm_mask|>",        "<|endoftext|>",     "<|pad|>",   "<|startoftext|>",
      "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
  return tokens;
}

void check(const TrainTokenizerOptions& options) {
  const std::vector<std::string> specials = all_special_tokens(options);
  for (std::size_t i = 0; i < specials.size(); ++i) {
    if (specials[i].empty()) fail_usage("a special token without text");
    if (valid_prefix(specials[i]) != specials[i].size())
      fail_usage("a special token that is not valid UTF-8");
    if (std::find(specials.begin(), specials.begin() + std::ptrdiff_t(i), specials[i]) !=
        specials.begin() + std::ptrdiff_t(i))
      fail_usage(str("the special token ", specials[i], " is there already"));
  }
  const std::int64_t least = kBytes + std::int64_t(specials.size());
  if (options.vocab_size < least || options.vocab_size > kMaxVocab)
    fail_usage(str("a vocabulary of ", options.vocab_size, " tokens: it must have between ", least,
                   " (", kBytes, " bytes and ", specials.size(), " special tokens) and ",
                   kMaxVocab));
  if (options.min_count < 1)
    fail_usage(str("a least count of ", options.min_count, " for merges; it must be at least 1"));
}

CutText cut_between_words(SplitPattern split) {
  struct Shared {
    Pretokenizer pretokenizer;
    SplitScratch scratch;
  };
  auto shared = std::make_shared<Shared>(Shared{pretokenizer_of(split), {}});
  const WordEnds word_ends = [shared](std::string_view text) {
    std::vector<std::size_t> ends;
    shared->pretokenizer.split(text, shared->scratch,
                               [&](std::string_view, std::size_t end) { ends.push_back(end); });
    return ends;
  };
  const EncodeText word_lengths = [word_ends](std::string_view text) {
    std::vector<std::int32_t> lengths;
    std::size_t begin = 0;
    for (const std::size_t end : word_ends(text)) {
      lengths.push_back(std::int32_t(end - begin));
      begin = end;
    }
    return lengths;
  };
  return [=](std::string_view text, std::size_t limit) {
    return find_cut(text, limit, word_lengths, word_ends);
  };
}

TrainedTokenizer train_tokenizer(const NextPiece& next, const TrainTokenizerOptions& options) {
  check(options);
  TrainedTokenizer result;
  const std::vector<WordCount> words = count_words(next, options, result);
  CHECK(!words.empty(), "the corpus holds no text to train a tokenizer on");
  const std::vector<std::string> specials = all_special_tokens(options);
  result.special_tokens = std::int64_t(specials.size());
  const std::int64_t tokens = options.vocab_size - result.special_tokens;
  const LearnedBpe bpe = learn_bpe(words, tokens, options.min_count, [&](std::int64_t done) {
    log_progress(str("merging: ", with_commas(done), " of ", with_commas(tokens), " tokens"));
  });
  log_progress("");
  result.json = to_json(bpe, options.split, specials);
  result.vocab_size = std::int64_t(bpe.tokens.size()) + result.special_tokens;
  result.merges = std::int64_t(bpe.merges.size());
  result.tokens = bpe.corpus_tokens;
  return result;
}

}  // namespace lacuna
