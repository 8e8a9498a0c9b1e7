#include <cstdio>
#include <filesystem>
#include <memory>

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

namespace lacuna {
namespace {

std::string summary(const std::string& file, const PreparedPart& part) {
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", double(part.bytes) / double(part.tokens));
  return str(file, ": ", counted(part.documents, "document"), ", ", counted(part.tokens, "token"),
             ", ", ratio, " bytes per token");
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
  std::string line = summary(options.output, result.train);
  if (!options.validation.empty())
    line += str("; ", summary(options.validation, result.validation));
  if (result.empty_documents > 0)
    line += str("; ", counted(result.empty_documents, "empty document"), " left out");
  std::printf("%s\n", printable(line).c_str());
}

}  // namespace

void add_prepare_command(Command app) {
  struct Arguments {
    PrepareOptions options;
    std::string format = "text", chat_template;
  };
  auto a = std::make_shared<Arguments>();
  PrepareOptions& o = a->options;
  const Command command = app.add_subcommand("prepare", "Tokenise text into an HDF5 token file");
  command
      .add_option("--tokenizer", o.tokenizer,
                  "tokenizer.json, or a checkpoint, Hugging Face folder or GGUF file that has one")
      .required();
  command
      .add_option("--input", o.inputs, "files of the corpus, or pipes; gzip and zstd are unpacked")
      .required();
  command.add_option("--output", o.output, "token file to write").required();
  command
      .add_option(
          "--format", a->format,
          "text: a file is a document; jsonl: a line is one, in its text field; parquet: a row "
          "is one, in its column of texts; chat: a "
          "line is a dialogue (messages, prompt and response, Alpaca, ShareGPT), for "
          "lacuna sft; preference: a line is a prompt with a chosen and a rejected reply, for "
          "lacuna dpo; of jsonl, chat and preference a file may also be one JSON array")
      .one_of({"text", "jsonl", "parquet", "chat", "preference"})
      .show_default();
  command
      .add_option("--text-field", o.text_field,
                  "jsonl: the field that holds the text; parquet: the column")
      .show_default();
  command.add_option("--chat-template", a->chat_template,
                     str("chat, preference: ", kChatTemplateHelp));
  const Option validation = command.add_option(
      "--validation", o.validation, "second token file, of documents held out for validation");
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
    const std::string jinja = take_tokenizer_of_model(a->options);
    if (chat)
      return run_chat(a->options, a->chat_template, jinja,
                      pairs ? ChatRecords::preferences : ChatRecords::dialogues);
    if (!a->chat_template.empty())
      fail_usage("--chat-template is for --format chat and preference");
    run(a->options);
  });
}

}  // namespace lacuna
