#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/pretokenizer.h"

namespace lacuna {

/// What a tokenizer.json says.
struct TokenizerDefinition {
  std::unordered_map<std::string, std::int32_t> vocab;  // by the token's text, in the byte alphabet
  MergeTable merges;
  bool ignore_merges = false;  // a word that is a token stays one, whatever the merges say
  std::vector<AddedToken> added_tokens;
  std::vector<SplitStep> steps;
  bool prefix_space = false;
  bool nfc = false;  // texts are brought to Unicode's normalization form C first
};

/// Reads the text of a tokenizer.json, and refuses what would give other ids here than in the
/// `tokenizers` package: Error, naming the file (`name`) and the key.
TokenizerDefinition read_tokenizer_json(const std::string& json, const std::string& name);

}  // namespace lacuna
