#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string>

#include "app/backend_options.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_on_ranks.h"
#include "app/standard_io.h"
#include "app/token_ids.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "decoding/decoder.h"
#include "diffusion/likelihood.h"
#include "evaluation/encode_text.h"
#include "evaluation/record.h"

namespace lacuna {
namespace {

struct ScoreArguments {
  std::string checkpoint, adapter, prompt, text, prompt_tokens, tokens, input;
  std::string form = word_of(MaskForm::mask_count);
  std::int64_t samples = 128, batch_tokens = kBatchTokens;
  bool independent = false, json = false;
  std::uint64_t seed = 1;
  std::int64_t tensor_parallel = 1;
  BackendOptions backend;

  /// What must be the same on all ranks beside the texts.
  std::string agreed() const {
    return str("--checkpoint ", checkpoint, "\n--adapter ", adapter, "\n--form ", form,
               "\n--samples ", samples, "\n--batch-tokens ", batch_tokens, "\n--independent ",
               independent, "\n--seed ", seed, "\n--tensor-parallel ", tensor_parallel, "\n",
               backend.agreed());
  }
};

/// A text of the input and what it came from.
struct Item {
  PromptedText text;
  std::int64_t bytes = 0;  // of the response; 0: unknown
};

Item from_strings(const ModelSource& source, const std::string& prompt, const std::string& text) {
  const Tokenizer& tokenizer = source.need_tokenizer("give --tokens");
  Item item{encode_pair(tokenizer, TaskText::written(prompt), TaskText::written(text)),
            std::int64_t(text.size())};
  source.check_ids(item.text.tokens);
  return item;
}

Item from_ids(const ScoreArguments& a, const ModelConfig& config) {
  Item item;
  item.text.tokens = parse_token_ids(a.prompt_tokens, config.vocab_size, "--prompt-tokens");
  item.text.prompt = std::int64_t(item.text.tokens.size());
  const auto rest = parse_token_ids(a.tokens, config.vocab_size);
  item.text.tokens.insert(item.text.tokens.end(), rest.begin(), rest.end());
  return item;
}

std::vector<Item> read_items(const ScoreArguments& a, const ModelSource& source) {
  if (!a.input.empty()) {
    std::vector<Item> items;
    for (const Record& record : read_records(a.input, 0)) {
      const std::string text = record.text("text");
      CHECK(!text.empty(), record.place(), ": field \"text\" is empty; there is nothing to score");
      items.push_back(from_strings(source, record.text_or("prompt", ""), text));
      const auto length = std::int64_t(items.back().text.tokens.size());
      CHECK(length <= source.config.max_seq_length, record.place(), ": ", length,
            " tokens; the model takes at most ", source.config.max_seq_length,
            " (model.max_seq_length)");
    }
    return items;
  }
  if (!a.tokens.empty()) return {from_ids(a, source.config)};
  if (a.text.empty()) fail_usage("give what is to be scored: --text, --tokens or --input");
  return {from_strings(source, a.prompt, a.text)};
}

LikelihoodOptions options_of(const ScoreArguments& a) {
  LikelihoodOptions o;
  o.form = parse_word<MaskForm>(a.form).value();
  o.samples = a.samples;
  o.stratified = !a.independent;
  o.seed = a.seed;
  return o;
}

nlohmann::ordered_json as_json(const Likelihood& l, std::int64_t bytes) {
  nlohmann::ordered_json json = {
      {"nats", l.nats},           {"standard_error", nullptr},
      {"tokens", l.tokens},       {"nats_per_token", l.nats / double(l.tokens)},
      {"bits_per_byte", nullptr}, {"samples", l.samples}};
  if (std::isfinite(l.standard_error)) json["standard_error"] = l.standard_error;
  if (bytes > 0) json["bits_per_byte"] = l.nats / std::numbers::ln2 / double(bytes);
  return json;
}

std::string as_line(const Likelihood& l, std::int64_t bytes, bool exact) {
  char text[256];
  int n = std::snprintf(text, sizeof text, "-log p %s %.6g", exact ? "=" : "<=", l.nats);
  std::string line(text, std::size_t(n));
  if (l.standard_error > 0) {
    n = std::snprintf(text, sizeof text, " +- %.2g", l.standard_error);
    line.append(text, std::size_t(n));
  }
  n = std::snprintf(text, sizeof text, " nats; %lld tokens, %.4f nats per token",
                    static_cast<long long>(l.tokens), l.nats / double(l.tokens));
  line.append(text, std::size_t(n));
  if (bytes > 0) {
    n = std::snprintf(text, sizeof text, ", %.4f bits per byte",
                      l.nats / std::numbers::ln2 / double(bytes));
    line.append(text, std::size_t(n));
  }
  if (!exact) line += "; " + counted(l.samples, "mask");
  return line;
}

std::string agreed(const ScoreArguments& a, const std::vector<Item>& items) {
  std::int64_t tokens = 0;
  for (const Item& item : items) tokens += std::int64_t(item.text.tokens.size());
  return a.agreed() + str(items.size(), " texts of ", tokens, " tokens\n");
}

/// Tokens of one forward pass.
std::int64_t pass_tokens(const ScoreArguments& a, const std::vector<Item>& items, bool causal) {
  std::int64_t rows = a.batch_tokens;
  for (const Item& item : items)
    rows = std::max(rows, std::int64_t(item.text.tokens.size()) + causal);
  // One text with few masks needs no more.
  if (items.size() == 1)
    rows = std::min(rows, (std::int64_t(items[0].text.tokens.size()) + causal) * a.samples);
  return rows;
}

void score(const ScoreArguments& a, const MpiSession& mpi) {
  ModelSource source(a.checkpoint, adapters_of(a.adapter));
  const bool causal = source.config.attention == Attention::causal;
  // With blocks of one token each is predicted from those before it.
  const bool exact =
      causal || (source.config.block_size == 1 && a.form == word_of(MaskForm::mask_count));
  const std::vector<Item> items = read_items(a, source);
  if (causal && mpi.rank() == 0 && (a.independent || a.form != word_of(MaskForm::mask_count)))
    log_warning(
        "the checkpoint is autoregressive and its likelihood exact: --form and "
        "--independent change nothing");

  const ModelOnRanks loaded =
      load_on_ranks(mpi, std::move(source), a.backend, a.tensor_parallel, agreed(a, items));
  LikelihoodEstimator estimator(*loaded.model.ops, loaded.model.config(), loaded.model.weights,
                                pass_tokens(a, items, causal), &loaded.tensor());
  const AbortOnException abort_on_exception(loaded.mesh->world());
  StandardOutput out;
  std::vector<PromptedText> texts;
  for (const Item& item : items) texts.push_back(item.text);
  std::int64_t bytes = 0;
  const auto progress = [&](std::size_t i) {
    log_progress(i < items.size() ? str("text ", i + 1, " of ", items.size()) : "");
  };
  progress(0);
  const auto print = [&](std::size_t i, const Likelihood& l) {
    bytes += items[i].bytes;
    if (!loaded.is_first_rank()) return;
    log_progress("");
    out.write((a.json ? as_json(l, items[i].bytes).dump() : as_line(l, items[i].bytes, exact)) +
              "\n");
    out.flush();
    progress(i + 1);
  };
  const std::vector<Likelihood> results =
      estimator.score(texts, options_of(a), 0, print, &loaded.data());
  if (items.size() > 1) log_info("all: " + as_line(sum_of(results), bytes, exact));
}

}  // namespace

void add_score_command(Command app, const MpiSession& session) {
  auto a = std::make_shared<ScoreArguments>();
  const Command command = app.add_subcommand(
      "score", "Bound the likelihood of texts (of an autoregressive model: compute it)");
  add_checkpoint_option(command, a->checkpoint);
  add_adapter_option(command, a->adapter);
  const Option text = command.add_option("--text", a->text, "what is scored");
  command.add_option("--prompt", a->prompt, "what is given before it").needs(text);
  const Option tokens =
      command.add_option("--tokens", a->tokens, "what is scored, as token ids: \"1 2 3\"");
  command.add_option("--prompt-tokens", a->prompt_tokens, "what is given before it, as token ids")
      .needs(tokens);
  const Option input = command.add_option(
      "--input", a->input,
      "JSONL of {\"text\": …} or {\"prompt\": …, \"text\": …}: a result for each, in order");
  text.excludes(tokens).excludes(input);
  tokens.excludes(input);
  command
      .add_option("--form", a->form,
                  "mask_count: a number of masked tokens is drawn, and which; mask_ratio: each "
                  "token is masked with a drawn probability (needs many more samples)")
      .one_of(all_words<MaskForm>())
      .show_default();
  command.add_option("--samples", a->samples, "masks per text")
      .between(1, std::int64_t{1} << 31)
      .show_default();
  command.add_flag("--independent", a->independent,
                   "draw each count or ratio on its own instead of one from each stratum");
  command.add_option("--seed", a->seed, "of the masks").whole_number().show_default();
  command
      .add_option("--batch-tokens", a->batch_tokens,
                  "tokens in one forward pass; changes no result but by rounding")
      .between(1, std::int64_t{1} << 24)
      .show_default();
  command.add_flag("--json", a->json, "a JSON object per text instead of a line");
  a->backend.add_to(command);
  add_tensor_parallel_option(command, a->tensor_parallel);
  command.callback([a, &session] { score(*a, session); });
}

}  // namespace lacuna
