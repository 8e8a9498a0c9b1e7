#include "decoding/make_strategy.h"

#include <algorithm>

#include "config/words.h"
#include "core/check.h"
#include "decoding/strategies/confidence.h"
#include "decoding/strategies/fixed_count.h"
#include "decoding/strategies/growing.h"
#include "decoding/strategies/left_to_right.h"
#include "decoding/strategies/revocable.h"

namespace lacuna {
namespace {

BlockLayout layout_of(const DecodingRequest& request, const Canvas& canvas,
                      const ModelConfig& model) {
  const DecodingOptions& o = request.options;
  const std::int64_t prompt = std::int64_t(request.tokens.size()) + canvas.hidden,
                     shift = model.logits_shift;
  BlockLayout layout{.first = prompt,
                     .length = o.block_length,
                     .sees_later = model.attention == Attention::bidirectional,
                     .prompt = prompt,
                     .end_token = o.stop_at_end ? std::int32_t(model.eos_token) : -1,
                     .steps = 0,
                     .asked = prompt + o.gen_length,
                     .shift = shift};
  if (request.infill && layout.sees_later) {
    const auto masked = std::int64_t(std::count(canvas.masked.begin(), canvas.masked.end(), true));
    layout = {.first = 0,
              .length = canvas.rows(),
              .sees_later = true,
              .prompt = 0,
              .end_token = -1,
              .steps = o.steps > 0 ? std::min(o.steps, masked) : masked,
              .asked = canvas.rows(),
              .shift = shift,
              .until_filled = request.constraint != nullptr};
    return layout;
  }
  if (request.infill) {  // of a block-causal model
    layout.prompt = request.answer;
    layout.end_token = -1;
    layout.asked = canvas.rows();
    layout.until_filled = true;
  }
  if (!layout.sees_later) {  // blocks are divided from the first position on
    layout.first = layout.prompt / o.block_length * o.block_length;
  }
  // Rounded up: the answer need not be whole blocks of a block-causal model.
  const std::int64_t blocks = layout.count(canvas.rows());
  layout.steps = o.steps > 0 ? (o.steps + blocks - 1) / blocks : layout.length;
  if (o.initial_length > 0) layout.steps = o.gen_length;  // masks may be added to a block
  return layout;
}

std::int64_t whole_blocks(std::int64_t rows, const ModelConfig& model) {
  if (model.attention != Attention::block_causal) return rows;
  return (rows + model.block_size - 1) / model.block_size * model.block_size;
}

std::int64_t shadow_rows(const DecodingOptions& options) {
  return options.strategy == StrategyKind::wino ? options.tokens_per_block() : 0;
}

}  // namespace

std::int64_t canvas_rows(std::int64_t prompt, const DecodingOptions& options,
                         const ModelConfig& model) {
  // Before an empty prompt the end token, for the logits of the first token.
  const std::int64_t before = model.logits_shift && prompt == 0,
                     rows = before + prompt + options.gen_length;
  return whole_blocks(rows, model);
}

bool revises(StrategyKind strategy) {
  return strategy == StrategyKind::remdm || strategy == StrategyKind::wino ||
         strategy == StrategyKind::edit;
}

DecodingRequest resolved_request(DecodingRequest request, const ModelConfig& model,
                                 const FieldNaming& named) {
  DecodingOptions& o = request.options;
  if (request.infill) {
    o.gen_length = std::max<std::int64_t>(1, std::int64_t(request.tokens.size()));
    o.block_length = 0;
    o.initial_length = 0;
  }
  o = resolved(o, model, named);
  if (request.infill) o.stop_at_end = false;  // what follows the gaps is there
  if (request.constraint && revises(o.strategy))
    fail_usage(
        str(named("strategy"), " ", word_of(o.strategy),
            " takes back what it committed; for the values of a schema it is not supported"));
  return request;
}

RequestRows rows_of(std::int64_t prompt, const DecodingOptions& options, const ModelConfig& model) {
  return {canvas_rows(prompt, options, model), shadow_rows(options)};
}

RequestRows rows_of(const DecodingRequest& request, const ModelConfig& model) {
  const auto length = std::int64_t(request.tokens.size());
  if (request.infill) return {whole_blocks(length, model), shadow_rows(request.options)};
  return rows_of(length, request.options, model);
}

Canvas make_canvas(const DecodingRequest& request, const ModelConfig& model) {
  const bool causal = model.attention == Attention::causal;
  Canvas canvas;
  if (model.predicts_next() && request.tokens.empty()) {
    canvas.append(std::int32_t(model.eos_token), false, true);
    canvas.hidden = 1;
  }
  for (const std::int32_t token : request.tokens) {
    // Of a block-causal model a mask in the prompt is a token like another: its block is past.
    const bool fills = model.attention == Attention::bidirectional || request.constraint,
               masked = fills && token == model.mask_token && canvas.rows() >= request.answer;
    canvas.append(token, masked, request.constraint ? canvas.rows() < request.answer : !masked);
  }
  if (request.infill)  // behind the text are end tokens, as in training
    while (canvas.rows() < whole_blocks(canvas.rows(), model))
      canvas.append(std::int32_t(std::max<std::int64_t>(0, model.eos_token)), false, true);
  if (causal || request.infill) return canvas;
  const auto prompt = std::int64_t(request.tokens.size());
  const std::int64_t rows = request.options.initial_length > 0
                                ? canvas.rows() + request.options.initial_length
                                : canvas_rows(prompt, request.options, model);
  while (canvas.rows() < rows) canvas.append(std::int32_t(model.mask_token), true, false);
  return canvas;
}

std::unique_ptr<Strategy> make_strategy(const DecodingRequest& request, const Canvas& canvas,
                                        const ModelConfig& model) {
  const DecodingOptions& o = request.options;
  if (model.attention == Attention::causal)
    return std::make_unique<LeftToRight>(o.gen_length, model.eos_token);
  const BlockLayout layout = layout_of(request, canvas, model);
  if (o.initial_length > 0)
    return std::make_unique<Growing>(canvas, layout, o, std::int32_t(model.eos_token));
  switch (o.strategy) {
    case StrategyKind::remdm:
      return std::make_unique<ReMdm>(canvas, layout, request);
    case StrategyKind::wino:
      return std::make_unique<Wino>(canvas, layout, o);
    case StrategyKind::edit:
      return std::make_unique<TokenEditing>(canvas, layout, o);
    case StrategyKind::automatic:
    case StrategyKind::fixed:
      return std::make_unique<FixedCount>(canvas, layout, request);
    default:
      return std::make_unique<ConfidenceStrategy>(canvas, layout, o);
  }
}

}  // namespace lacuna
