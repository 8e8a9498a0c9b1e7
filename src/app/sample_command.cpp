#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "app/backend_options.h"
#include "app/canvas_view.h"
#include "app/chat_session.h"
#include "app/chat_template_option.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/decode_samples.h"
#include "app/decoding_arguments.h"
#include "app/generation_report.h"
#include "app/live_decoding.h"
#include "app/model_on_ranks.h"
#include "app/standard_io.h"
#include "app/token_ids.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "decoding/generate.h"
#include "decoding/make_strategy.h"
#include "evaluation/gap_text.h"
#include "model_io/loaded_model.h"
#include "structured/json_skeleton.h"
#include "tokenizer/answer_text.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kDefaultLength = 128;
constexpr std::int64_t kChatBlock = 32;

struct SampleArguments {
  std::string checkpoint, prompt, tokens, infill, json_schema, chat_template, stats_json, steps_map;
  std::vector<std::string> adapters;
  DecodingArguments decoding;
  std::int64_t samples = 1, tensor_parallel = 1, string_tokens = kStringTokens;
  BackendOptions backend;
  bool chat = false, ids = false, show = false, echo = false, stats = false;

  /// What all ranks must agree in, beside the decoding options.
  std::string agreed() const {
    return str("--checkpoint ", checkpoint, "\n--adapter ", listed(adapters, "and"), "\n--prompt ",
               prompt, "\n--tokens ", tokens, "\n--infill ", infill, "\n--json-schema ",
               json_schema, "\n--string-tokens ", string_tokens, "\n--num-samples ", samples,
               "\n--tensor-parallel ", tensor_parallel, "\n", backend.agreed());
  }
};

std::vector<std::int32_t> prompt_ids(const SampleArguments& a, const ModelSource& source) {
  if (!a.tokens.empty()) return parse_token_ids(a.tokens, source.config.vocab_size);
  if (a.prompt.empty()) return {};
  std::vector<std::int32_t> ids =
      source.need_tokenizer("give the prompt as --tokens").encode(a.prompt);
  source.check_ids(ids);
  return ids;
}

/// What was asked for, with `length` tokens where it says nothing else.
DecodingOptions options_of(const SampleArguments& a, const ModelConfig& config, std::int64_t prompt,
                           std::int64_t length) {
  const std::int64_t room = config.max_seq_length - prompt;
  if (room < 1)
    fail_usage(str("the prompt has ", counted(prompt, "token"),
                   ", which leaves no room for an answer: ", "model.max_seq_length is ",
                   config.max_seq_length));
  const DecodingOptions o = a.decoding.options({.gen_length = std::min(room, length)});
  if (o.gen_length > room)
    fail_usage(str("--gen-length is ", o.gen_length, "; with a prompt of ",
                   counted(prompt, "token"), " it must be at most ", room,
                   " (model.max_seq_length is ", config.max_seq_length, ")"));
  return resolved(o, config, option_name);
}

void warn_of_idle_options(const SampleArguments& a, const DecodingOptions& o, bool causal) {
  if (causal && (a.decoding.gives("steps") || a.decoding.gives("block_length") || o.cfg_scale > 0 ||
                 o.remasking != Remasking::low_confidence))
    log_warning(
        "the checkpoint is autoregressive and is read from left to right: --steps, "
        "--block-length, --remasking and --cfg-scale change nothing");
  if (a.samples > 1 && o.temperature == 0 && (causal || o.remasking != Remasking::random))
    log_warning("at --temperature 0 all samples are the same");
}

/// Prints samples as they are finished.
class Printer {
 public:
  Printer(const SampleArguments& a, const ModelSource& source, std::int64_t prompt_length)
      : arguments_(a), source_(source), prompt_length_(prompt_length) {}

  void operator()(const std::vector<std::int32_t>& canvas) {
    ++printed_;
    std::string out;
    const std::span<const std::int32_t> all(canvas);
    const auto prompt = all.first(std::size_t(prompt_length_));
    auto answer = all.subspan(prompt.size());
    if (arguments_.ids) {
      for (const std::int32_t id : arguments_.echo ? all : answer) {
        if (!out.empty()) out += ' ';
        out += std::to_string(id);
      }
    } else {
      if (arguments_.samples > 1)
        out = str(printed_ > 1 ? "\n" : "", "--- sample ", printed_, " of ", arguments_.samples,
                  " ---\n");
      if (arguments_.echo)
        out +=
            arguments_.tokens.empty() ? arguments_.prompt : answer_text(*source_.tokenizer, prompt);
      // In JSON the end token stands behind short values, and the text goes on.
      out += answer_text(*source_.tokenizer, answer,
                         {arguments_.json_schema.empty() ? source_.config.eos_token : -1});
    }
    out += '\n';
    output_.write(out);
    output_.flush();
  }

 private:
  const SampleArguments& arguments_;
  const ModelSource& source_;
  std::int64_t prompt_length_, printed_ = 0;
  StandardOutput output_;
};

void print_line(const std::string& line) {
  StandardOutput output;
  output.write(line + "\n");
  output.flush();
}

/// A conversation, or with --prompt the reply to it.
void chat(const SampleArguments& a) {
  if (a.samples > 1 || a.ids || a.echo)
    fail_usage("--chat is a conversation: --num-samples, --ids and --echo have no meaning in it");
  ModelSource source(a.checkpoint, a.adapters);
  const std::int64_t half = std::max<std::int64_t>(1, source.config.max_seq_length / 2);
  DecodingOptions options = options_of(a, source.config, 0, std::min(kDefaultLength, half));
  // As LLaDA's chat.py: with all of a long reply open at once, end tokens would win too early.
  if (source.config.attention == Attention::bidirectional && !a.decoding.gives("block_length") &&
      options.gen_length % kChatBlock == 0) {
    options.block_length = kChatBlock;
    validate(options, option_name);
  }
  warn_of_idle_options(a, options, source.config.attention == Attention::causal);
  const ChatTemplate chat_template =
      load_chat_template(a.chat_template, source.chat_template(), source.reader.path());
  const LoadedModel model = load_model(std::move(source), a.backend.make(), a.backend.type());
  const bool show = a.show || (isatty(STDERR_FILENO) && isatty(STDIN_FILENO));
  ChatSession session(model, options, chat_template, show);
  if (a.prompt.empty()) return converse(session);
  StandardOutput out;
  out.write(session.ask(a.prompt) + "\n");
  out.flush();
}

/// Generates the samples on all ranks; rank 0 prints and reports.
void decode_and_print(const SampleArguments& a, const ModelOnRanks& loaded, Decoder& decoder,
                      const DecodingRequest& request, std::int64_t at_once,
                      std::int64_t prompt_length) {
  const Stopwatch stopwatch;
  const DecodingStats before = decoder.stats();  // of the trials of gap lengths
  GenerationReport report(a.steps_map);
  Printer printer(a, loaded.model.source, prompt_length);
  const auto print = [&](const DecodingResult& result) {
    if (!loaded.is_first_rank()) return;
    printer(result.tokens);
    report.add(result);
  };
  if (a.show) {
    CanvasView view(stderr, *loaded.model.source.tokenizer, loaded.model.config());
    for (std::int64_t i = 0; i < a.samples; ++i) {
      DecodingRequest next = request;
      next.sample = i;
      print(decode_live(decoder, next, &view,
                        a.samples > 1 ? str("sample ", i + 1, " of ", a.samples) : "",
                        !isatty(STDOUT_FILENO)));
    }
  } else {
    decode_samples(decoder, request, a.samples, at_once, loaded.data(), print);
  }
  const DecodingStats stats = sum_over(loaded.data(), decoder.stats() - before);
  if (loaded.is_first_rank())
    report.finish(stats, loaded.data().size(), stopwatch.seconds(), a.stats, a.stats_json);
}

/// Fills the gaps of a text.
void infill(const SampleArguments& a, const MpiSession& mpi) {
  ModelSource source(a.checkpoint, a.adapters);
  const ModelConfig& config = source.config;
  if (config.attention != Attention::bidirectional)
    fail_usage(str("--infill needs a bidirectional model; one with ", word_of(config.attention),
                   " attention does not see what follows a gap"));
  const Tokenizer& tokenizer = source.need_tokenizer("--infill needs one");
  GapText text = parse_gaps(a.infill, tokenizer, config.max_seq_length, "--infill");
  const std::int64_t most = most_tokens(text);
  if (most > config.max_seq_length)
    fail_usage(str("--infill: the text may come to ", counted(most, "token"),
                   "; model.max_seq_length is ", config.max_seq_length));
  DecodingOptions options = a.decoding.options({.gen_length = most});
  options.block_length = 0;
  if (options.initial_length > 0)
    fail_usage("--initial-length is for a text after a prompt; {gap} chooses its own length");
  options = resolved(options, config, option_name);
  const ModelOnRanks loaded = load_on_ranks(mpi, std::move(source), a.backend, a.tensor_parallel,
                                            a.agreed() + text_of(options));
  const LoadedModel& model = loaded.model;
  const auto mask = std::int32_t(model.config().mask_token);
  const std::int64_t at_once = std::clamp<std::int64_t>(kBatchTokens / most, 1, 8);
  Decoder decoder(*model.ops, model.config(), model.weights,
                  limits_for(model.config(), options, 0, at_once), &loaded.tensor());
  const AbortOnException abort_on_exception(loaded.mesh->world());
  choose_lengths(text, decoder, mask);
  decode_and_print(a, loaded, decoder,
                   {.tokens = with_masks(text, mask), .options = options, .infill = true}, at_once,
                   0);
}

/// Generates JSON that conforms to a schema.
void sample_json(const SampleArguments& a, const MpiSession& mpi) {
  ModelSource source(a.checkpoint, a.adapters);
  const Tokenizer& tokenizer = source.need_tokenizer("--json-schema needs one");
  const std::string schema = read_named_file(a.json_schema);
  const SkeletonWriter writer(tokenizer, source.config);
  JsonSkeleton skeleton;
  try {
    skeleton = writer.write(parse_json_schema(schema), a.string_tokens);
  } catch (const Error& e) {
    throw Error(a.json_schema + ": " + e.what());
  }
  const std::vector<std::int32_t> prompt = prompt_ids(a, source);
  const auto length = std::int64_t(prompt.size()), made = std::int64_t(skeleton.tokens.size());
  for (const char* field : {"gen_length", "block_length", "initial_length"})
    if (a.decoding.gives(field))
      fail_usage(option_name(field) + " has no meaning with --json-schema: the schema says it");
  const DecodingRequest request = resolved_request(
      request_of(skeleton, prompt, a.decoding.options({.gen_length = length + made})),
      source.config, option_name);
  const std::int64_t rows = rows_of(request, source.config).all();
  if (const std::int64_t most = source.config.max_seq_length; length + made > most)
    fail_usage(str("--json-schema: an answer has up to ", counted(made, "token"),
                   " and the prompt ", length, "; model.max_seq_length is ", most));
  const ModelOnRanks loaded = load_on_ranks(mpi, std::move(source), a.backend, a.tensor_parallel,
                                            a.agreed() + text_of(request.options));
  const LoadedModel& model = loaded.model;
  const std::int64_t at_once = std::clamp<std::int64_t>(kBatchTokens / rows, 1, 8);
  Decoder decoder(*model.ops, model.config(), model.weights,
                  {.tokens = at_once * rows,
                   .sequences = at_once,
                   .guidance = request.options.cfg_scale > 0,
                   .cache = request.options.cache != CacheKind::none},
                  &loaded.tensor());
  const AbortOnException abort_on_exception(loaded.mesh->world());
  decode_and_print(a, loaded, decoder, request, at_once, length);
}

void sample(const SampleArguments& a, const MpiSession& mpi) {
  if (mpi.size() > 1 && (a.chat || a.show))
    fail_usage(
        str(a.chat ? "--chat" : "--show", " is for one rank, and ", mpi.size(), " were started"));
  if (a.adapters.size() > 1 && (a.chat || a.show || !a.infill.empty() || !a.json_schema.empty() ||
                                !a.stats_json.empty() || !a.steps_map.empty()))
    fail_usage(
        "several --adapter: a text from each is for a prompt, without --chat, --show, --infill, "
        "--json-schema, --stats-json and --steps-map");
  if (a.chat) return chat(a);
  if (!a.chat_template.empty()) fail_usage("--chat-template is for --chat");
  if (!a.infill.empty()) return infill(a, mpi);
  if (!a.json_schema.empty()) return sample_json(a, mpi);
  ModelSource source(a.checkpoint, a.adapters);
  if (!a.ids) (void)source.need_tokenizer("ask for token ids with --ids");
  if (a.show) (void)source.need_tokenizer("--show needs one");
  const std::vector<std::int32_t> prompt = prompt_ids(a, source);
  const auto length = std::int64_t(prompt.size());
  const DecodingOptions options = options_of(a, source.config, length, kDefaultLength);
  const bool causal = source.config.attention == Attention::causal;
  if (mpi.rank() == 0) warn_of_idle_options(a, options, causal);

  const ModelOnRanks loaded = load_on_ranks(mpi, std::move(source), a.backend, a.tensor_parallel,
                                            a.agreed() + text_of(options));
  const LoadedModel& model = loaded.model;
  const std::int64_t canvas = length + options.gen_length, ranks = loaded.data().size();
  const std::int64_t at_once =
      a.show ? 1
             : std::clamp<std::int64_t>(kBatchTokens / canvas, 1, (a.samples + ranks - 1) / ranks);
  const AbortOnException abort_on_exception(loaded.mesh->world());
  const std::size_t adapters = model.adapters.size();
  for (std::size_t i = 0; i < std::max<std::size_t>(1, adapters); ++i) {
    if (adapters > 1 && loaded.is_first_rank())
      print_line(str("=== ", printable(model.source.adapters[i].name), " ==="));
    Decoder decoder(*model.ops, model.config(), adapters > 1 ? model.with(i) : model.weights,
                    limits_for(model.config(), options, length, at_once), &loaded.tensor());
    decode_and_print(a, loaded, decoder, {.tokens = prompt, .options = options}, at_once, length);
  }
}

}  // namespace

void add_sample_command(Command app, const MpiSession& session) {
  auto a = std::make_shared<SampleArguments>();
  const Command command = app.add_subcommand("sample", "Generate text from a checkpoint");
  add_checkpoint_option(command, a->checkpoint);
  command
      .add_option(
          "--adapter", a->adapters,
          str(kAdapterHelp,
              "; may be repeated, as NAME=FOLDER: the texts of each, one after another, with "
              "one model in memory"))
      .one_value_per_use();
  const Option prompt = command.add_option("--prompt", a->prompt, "text to continue");
  const Option tokens =
      command.add_option("--tokens", a->tokens, "the same as token ids: \"1 2 3\"");
  const Option chat =
      command.add_flag("--chat", a->chat,
                       "talk with a fine-tuned model: lines of standard input are messages; with "
                       "--prompt, one reply");
  command.add_option("--chat-template", a->chat_template, str("chat: ", kChatTemplateHelp));
  const Option gaps = command.add_option(
      "--infill", a->infill,
      "text with gaps to fill instead of a prompt: \"Once {gap:8} a {gap}.\", of so many tokens or "
      "of a length that the model chooses");
  const Option schema = command.add_option(
      "--json-schema", a->json_schema,
      "file of a JSON schema to which the answer conforms (docs/serving.md says which)");
  command
      .add_option("--string-tokens", a->string_tokens,
                  "tokens of a string of the schema without maxLength")
      .between(1, kMostStringTokens)
      .show_default();
  schema.excludes(gaps).excludes(chat);
  prompt.excludes(tokens);
  tokens.excludes(chat);
  gaps.excludes(prompt).excludes(tokens).excludes(chat);
  a->decoding.add_to(command, "what fits in the model's length, at most 128");
  command.add_option("--num-samples", a->samples, "texts to generate")
      .between(1, std::int64_t{1} << 32)
      .show_default();
  a->backend.add_to(command);
  add_tensor_parallel_option(command, a->tensor_parallel);
  command.add_flag("--ids", a->ids, "print the generated token ids instead of text");
  command.add_flag("--echo", a->echo, "print the prompt before the answer");
  command.add_flag("--stats", a->stats,
                   "print on standard error how many passes and computed rows the texts took");
  command.add_option("--stats-json", a->stats_json, "the same as JSON, in this file");
  command.add_option("--steps-map", a->steps_map,
                     "file that gets a line of JSON per text: its tokens, the step that committed "
                     "each, and its probability then");
  command.add_flag("--show", a->show, "show the canvas on standard error while it is filled");
  command.callback([a, &session] { sample(*a, session); });
}

}  // namespace lacuna
