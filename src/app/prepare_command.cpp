#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <tuple>
#include <utility>

#include "app/chat_template_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/log.h"
#include "core/text.h"
#include "data/prepare.h"
#include "data/prepare_chat.h"
#include "data/prepare_shards.h"

namespace lacuna {
namespace {

std::string summary(const std::string& file, const PreparedPart& part, std::int64_t row_length) {
  const std::string ratio = format("%.2f", double(part.bytes) / double(part.tokens));
  std::string text =
      str(file, ": ", counted(part.documents, "document"), ", ", counted(part.tokens, "token"));
  if (part.bytes > 0) text += str(", ", ratio, " bytes per token");  // 0: ids were taken over
  if (part.rows > 0)
    text += str(", ", counted(part.rows, "row"), " of at most ", row_length, ": ",
                format("%.2f", 100 - 100 * double(part.tokens) / double(row_length * part.rows)),
                " % padding");
  return text;
}

/// Where a model is named for its tokenizer, takes it out. Returns the chat template that comes
/// with the model, or "".
std::string take_tokenizer_of_model(PrepareOptions& o) {
  if (!std::filesystem::is_directory(o.tokenizer)) {
    if (!std::filesystem::is_regular_file(o.tokenizer)) return "";
    const std::string begin = InputFile(o.tokenizer).begin(4);
    if (begin != "GGUF" && begin != "\x89HDF") return "";
  }
  const std::unique_ptr<const ModelReader> model = open_model(resolve_checkpoint(o.tokenizer));
  o.tokenizer_json = model->info().tokenizer;
  if (o.tokenizer_json.empty()) fail_usage(model->path() + ": holds no tokenizer");
  return kept_chat_template(model->info(), model->path() + ": tokenizer");
}

void run_chat(const PrepareOptions& options, const std::string& chat_template,
              const std::string& jinja, ChatRecords records) {
  const bool pairs = records == ChatRecords::preferences;
  const PrepareChatResult r =
      prepare_chat(options, load_chat_template(chat_template, jinja, options.tokenizer), records);
  const auto part = [&](const std::string& file, const PreparedPart& p) {
    return str(file, ": ",
               pairs ? counted(p.documents / 2, "pair") : counted(p.documents, "example"), ", ",
               counted(p.tokens, "token"));
  };
  std::string line = part(options.output, r.train);
  if (!options.validation.empty()) line += str("; ", part(options.validation, r.validation));
  line += str("; of ", counted(r.dialogues, pairs ? "record" : "dialogue"), "; ",
              with_commas(r.response_tokens), " tokens are responses; the longest example has ",
              with_commas(r.longest));
  constexpr std::pair<const char*, const char*> why[kChatSkips] = {
      {"dialogue", "skipped, the roles being out of order"},
      {"turn", "skipped, the reply being empty"},
      {"turn", "not trained on, as the record says"},
      {"pair", "skipped, both replies being the same"}};
  for (std::size_t i = 0; i < kChatSkips; ++i)
    if (r.skipped[i] > 0)
      line += str("; ", counted(r.skipped[i], why[i].first), " ", why[i].second,
                  " (first: ", r.first_skipped[i], ")");
  std::string keys;
  for (const std::string& key : r.ignored_keys) keys += (keys.empty() ? "" : ", ") + key;
  if (!keys.empty()) log_info("keys that were not used: " + printable(keys));
  std::printf("%s\n", printable(line).c_str());
}

void run(const PrepareOptions& options) {
  const PrepareResult result = prepare(options);
  std::string line = summary(options.output, result.train, options.row_length);
  if (!options.validation.empty())
    line += str("; ", summary(options.validation, result.validation, options.row_length));
  if (result.empty_documents > 0)
    line += str("; ", counted(result.empty_documents, "empty document"), " left out");
  std::printf("%s\n", printable(line).c_str());
}

/// Of "k/n"; UsageError for another text.
std::pair<std::int64_t, std::int64_t> shard_of(const std::string& text) {
  std::int64_t k = 0, n = 0;
  const char* end = text.data() + text.size();
  const auto slash = std::from_chars(text.data(), end, k);
  if (slash.ec == std::errc() && slash.ptr != end && *slash.ptr == '/') {
    const auto rest = std::from_chars(slash.ptr + 1, end, n);
    if (rest.ec == std::errc() && rest.ptr == end && k >= 1 && k <= n) return {k, n};
  }
  fail_usage(str("--shard must be k/n, as 2/8 for the second of eight, not ", text));
}

void run_shards(ShardOptions& options) {
  options.validation = options.each.validation;
  const ShardsResult r = prepare_shards(options);
  const PrepareResult& made = r.prepared;
  std::string line = str(options.output, ": ", counted(r.inputs, "input"), " prepared");
  if (r.kept > 0) line += str(", ", counted(r.kept, "input"), " done before");
  if (made.train.tokens > 0) line += "; " + summary("now", made.train, options.each.row_length);
  if (made.validation.tokens > 0)
    line += "; " + summary(options.validation, made.validation, options.each.row_length);
  if (made.empty_documents > 0)
    line += str("; ", counted(made.empty_documents, "empty document"), " left out");
  if (r.missing > 0)
    line += str("; ", counted(r.missing, "input"), " of other shards to be done yet, and then the ",
                "manifest");
  std::printf("%s\n", printable(line).c_str());
}

}  // namespace

void add_prepare_command(Command app) {
  struct Arguments {
    PrepareOptions options;
    ShardOptions shards;
    std::string format = "text", chat_template, shard;
  };
  auto a = std::make_shared<Arguments>();
  PrepareOptions& o = a->options;
  const Command command = app.add_subcommand("prepare", "Tokenise text into an HDF5 token file");
  command
      .add_option("--tokenizer", o.tokenizer,
                  "tokenizer.json, or a checkpoint, Hugging Face folder or GGUF file that has one")
      .required();
  command
      .add_option("--input", o.inputs,
                  "files of the corpus, folders of them, or pipes; gzip and zstd are unpacked")
      .required();
  const Option output = command.add_option("--output", o.output, "token file to write");
  const Option output_dir =
      command
          .add_option("--output-dir", a->shards.output,
                      "folder to write instead: a token file of each input, and a manifest that "
                      "makes them one source. What is done stays, if the run is ended")
          .excludes(output);
  command
      .add_option("--shard", a->shard,
                  "k/n: the k-th of n processes, which each prepare every n-th input [1/1]")
      .needs(output_dir);
  command
      .add_option("--row-length", o.row_length,
                  "pack documents into rows of so many tokens, best fit, for training with "
                  "data.documents = separate and that data.sequence_length [no rows]")
      .between(1, std::int64_t{1} << 30);
  command
      .add_option(
          "--format", a->format,
          "text: a file is a document; jsonl: a line is one, in its text field; parquet: a row "
          "is one, in its column of texts; megatron: a .bin/.idx dataset of ids; chat: a "
          "line is a dialogue (messages, prompt and response, Alpaca, ShareGPT), for "
          "lacuna sft; preference: a line is a prompt with a chosen and a rejected reply, for "
          "lacuna dpo; of jsonl, chat and preference a file may also be one JSON array")
      .one_of({"text", "jsonl", "parquet", "megatron", "chat", "preference"})
      .show_default();
  command
      .add_option("--text-field", o.text_field,
                  "jsonl: the field that holds the text; parquet: the column")
      .show_default();
  command.add_option("--chat-template", a->chat_template,
                     str("chat, preference: ", kChatTemplateHelp));
  const Option validation = command.add_option(
      "--validation", o.validation,
      "second token file, or with --output-dir folder, of documents held out for validation");
  command
      .add_option("--validation-fraction", o.validation_fraction,
                  "share of the documents held out; of a single text, of its length")
      .needs(validation)
      .show_default();
  command
      .add_option("--validation-parts", o.validation_parts,
                  "of a single text: how many parts are held out, spread evenly over it and cut at "
                  "lines; 1: its tail [as many as have 4 KiB, at most 64]")
      .needs(validation)
      .between(1, std::int64_t{1} << 32);
  command.add_option("--seed", o.seed, "of the choice of documents held out")
      .whole_number()
      .show_default();
  command
      .add_option(
          "--max-malformed", o.max_malformed,
          "jsonl, chat, preference: malformed records that are left out and counted; with more, "
          "nothing is written")
      .between(0, std::int64_t{1} << 62)
      .show_default();
  command.add_option("--threads", o.threads, "0: every core the process may use")
      .thread_count()
      .show_default();
  command.callback([a] {
    const bool pairs = a->format == "preference", chat = pairs || a->format == "chat";
    a->options.format = chat ? CorpusFormat::jsonl : corpus_format(a->format);
    if (a->options.output.empty() && a->shards.output.empty())
      fail_usage("--output or --output-dir is required");
    std::vector<CorpusInput> inputs =
        input_list(a->options.inputs, a->options.format == CorpusFormat::megatron ? ".idx" : "");
    a->options.inputs.clear();
    for (const CorpusInput& input : inputs) a->options.inputs.push_back(input.path);
    const std::string jinja = take_tokenizer_of_model(a->options);
    if (chat && (a->options.row_length > 0 || !a->shards.output.empty()))
      fail_usage(str(a->options.row_length > 0 ? "--row-length" : "--output-dir",
                     " is not for --format ", a->format));
    if (chat)
      return run_chat(a->options, a->chat_template, jinja,
                      pairs ? ChatRecords::preferences : ChatRecords::dialogues);
    if (!a->chat_template.empty())
      fail_usage("--chat-template is for --format chat and preference");
    if (a->shards.output.empty()) return run(a->options);
    if (a->options.validation_parts > 0)
      fail_usage("--validation-parts is for --output: with --output-dir whole texts are held out");
    if (!a->shard.empty()) std::tie(a->shards.shard, a->shards.shards) = shard_of(a->shard);
    a->shards.each = a->options;
    a->shards.inputs = std::move(inputs);
    run_shards(a->shards);
  });
}

}  // namespace lacuna
