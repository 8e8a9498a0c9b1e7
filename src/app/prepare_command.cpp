#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/validators.h"
#include "core/check.h"
#include "core/text.h"
#include "data/prepare.h"
#include "data/prepare_chat.h"

namespace lacuna {
namespace {

std::string summary(const std::string& file, const PreparedPart& part) {
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", double(part.bytes) / double(part.tokens));
  return str(file, ": ", with_commas(part.documents),
             part.documents == 1 ? " document, " : " documents, ", with_commas(part.tokens),
             " tokens, ", ratio, " bytes per token");
}

void run_chat(const PrepareOptions& options, const std::string& chat_template) {
  const PrepareChatResult r = prepare_chat(options, load_chat_template(chat_template));
  const auto part = [](const std::string& file, const PreparedPart& p) {
    return str(file, ": ", with_commas(p.documents),
               p.documents == 1 ? " example, " : " examples, ", with_commas(p.tokens), " tokens");
  };
  std::string line = part(options.output, r.train);
  if (!options.validation.empty()) line += str("; ", part(options.validation, r.validation));
  line += str("; of ", with_commas(r.dialogues), " dialogues; ", with_commas(r.response_tokens),
              " tokens are responses; the longest example has ", with_commas(r.longest));
  constexpr const char* why[kChatSkips] = {"dialogues skipped, their roles being out of order",
                                           "turns skipped, their reply being empty"};
  for (std::size_t i = 0; i < kChatSkips; ++i)
    if (r.skipped[i] > 0)
      line +=
          str("; ", with_commas(r.skipped[i]), " ", why[i], " (first: ", r.first_skipped[i], ")");
  std::printf("%s\n", line.c_str());
}

void run(const PrepareOptions& options) {
  const PrepareResult result = prepare(options);
  std::string line = summary(options.output, result.train);
  if (!options.validation.empty())
    line += str("; ", summary(options.validation, result.validation));
  if (result.empty_documents > 0)
    line += str("; ", with_commas(result.empty_documents), " empty documents left out");
  std::printf("%s\n", line.c_str());
}

}  // namespace

void add_prepare_command(CLI::App& app) {
  struct Arguments {
    PrepareOptions options;
    std::string format = "text", chat_template;
  };
  auto a = std::make_shared<Arguments>();
  PrepareOptions& o = a->options;
  CLI::App* command = app.add_subcommand("prepare", "Tokenise text into an HDF5 token file");
  command->add_option("--tokenizer", o.tokenizer, "tokenizer.json")->required();
  command->add_option("--input", o.inputs, "files of the corpus, or pipes")->required();
  command->add_option("--output", o.output, "token file to write")->required();
  command
      ->add_option("--format", a->format,
                   "text: a file is a document; jsonl: a line is one, in its text field; chat: a "
                   "line is a dialogue (messages, prompt and response, Alpaca, ShareGPT), for "
                   "lacuna sft")
      ->check(CLI::IsMember({"text", "jsonl", "chat"}))
      ->capture_default_str();
  command->add_option("--text-field", o.text_field, "jsonl: the field that holds the text")
      ->capture_default_str();
  command->add_option("--chat-template", a->chat_template,
                      "chat: JSON file of begin, message and reply instead of LLaDA's template");
  command->add_option("--validation", o.validation,
                      "second token file, of documents held out for validation");
  command
      ->add_option("--validation-fraction", o.validation_fraction,
                   "share of the documents held out; of a single text, the tail")
      ->capture_default_str();
  command->add_option("--seed", o.seed, "of the choice of documents held out")
      ->check(whole_number())
      ->capture_default_str();
  command->add_option("--threads", o.threads, "0: every core the process may use")
      ->check(thread_count())
      ->capture_default_str();
  command->callback([a] {
    if (a->format == "chat") return run_chat(a->options, a->chat_template);
    if (!a->chat_template.empty()) fail_usage("--chat-template is for --format chat");
    a->options.format = a->format == "jsonl" ? CorpusFormat::jsonl : CorpusFormat::text;
    run(a->options);
  });
}

}  // namespace lacuna
