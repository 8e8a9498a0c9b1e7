#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "config/config.h"
#include "decoding/canvas.h"
#include "structured/json_schema.h"
#include "structured/slot_language.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// A JSON text as a canvas: keys and punctuation are there from the beginning, and in the slots of
/// the values are masks, all of which a diffusion model fills at once, seeing what stands on both
/// sides ("schema scaffolding", arXiv:2507.04504). The constraint admits to each slot what its
/// value may be: whatever the model says, the text is JSON and conforms to the schema.
struct JsonSkeleton {
  std::vector<std::int32_t> tokens;
  std::shared_ptr<const TokenConstraint> constraint;
  std::int32_t filler = 0;  // stands where a value is shorter than its slot; not part of the text
};

/// The request whose answer to `prompt` the skeleton becomes.
DecodingRequest request_of(const JsonSkeleton& skeleton, const std::vector<std::int32_t>& prompt,
                           const DecodingOptions& options);

/// Makes the skeletons of one model. Any thread may.
class SkeletonWriter {
 public:
  /// Borrows the tokenizer. UsageError for a model that is autoregressive, which could not see the
  /// skeleton behind a slot, and for one without an end token, which is the filler.
  SkeletonWriter(const Tokenizer& tokenizer, const ModelConfig& model);
  /// Slots of strings have `string_tokens` tokens; with a maxLength as many as its characters take
  /// of tokens half as long as the vocabulary's on average, if that is less: a model fills what
  /// there is. Those of numbers have 10. Error where the tokenizer cannot write what the schema
  /// asks for.
  JsonSkeleton write(const JsonSchema& schema, std::int64_t string_tokens) const;

 private:
  class Writing;
  /// Of one kind, for strings with or without characters that count.
  std::shared_ptr<const TokenClasses> classes(JsonSchema::Kind kind, JsonSchema::Sign sign,
                                              bool counted) const;
  std::vector<std::int32_t> encode(const std::string& text) const;

  const Tokenizer& tokenizer_;
  const ModelConfig model_;
  std::int32_t filler_;
  TokenTexts texts_;
  std::int64_t longest_ = 1;     // characters of a token
  double short_characters_ = 1;  // of a short one: half of the mean
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<JsonSchema::Kind, JsonSchema::Sign, bool>,
                   std::shared_ptr<const TokenClasses>>
      classes_;
};

}  // namespace lacuna
