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
/// Masked rows that are computed beside the canvas's own, at most (strategy wino).
std::int64_t shadow_rows(const DecodingOptions& options);

}  // namespace lacuna
