#pragma once
#include <memory>

#include "config/config.h"
#include "decoding/strategy.h"

namespace lacuna {

/// The canvas that a request begins with.
Canvas make_canvas(const DecodingRequest& request, const ModelConfig& model);

/// What decides over it. `request.options` as resolved() gives them.
std::unique_ptr<Strategy> make_strategy(const DecodingRequest& request, const Canvas& canvas,
                                        const ModelConfig& model);

/// Rows that the canvas of an answer of options.gen_length tokens to `prompt` may come to have. A
/// block-causal model fills whole blocks.
std::int64_t canvas_rows(std::int64_t prompt, const DecodingOptions& options,
                         const ModelConfig& model);
/// Whether a strategy may mask again or replace tokens that it has committed.
bool revises(StrategyKind strategy);
/// The request with its options as resolved() gives them; to infill, of one block that is the text.
/// UsageError as resolved().
DecodingRequest resolved_request(DecodingRequest request, const ModelConfig& model,
                                 const FieldNaming& named = plain_name);

/// Rows of a request, at most.
struct RequestRows {
  std::int64_t canvas;   // of its text
  std::int64_t shadows;  // masked ones that are computed beside these (strategy wino)
  std::int64_t all() const { return canvas + shadows; }
};
RequestRows rows_of(std::int64_t prompt, const DecodingOptions& options, const ModelConfig& model);
/// Of a resolved_request().
RequestRows rows_of(const DecodingRequest& request, const ModelConfig& model);

}  // namespace lacuna
