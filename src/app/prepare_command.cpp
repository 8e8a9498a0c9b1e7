#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/validators.h"
#include "core/check.h"
#include "core/text.h"
#include "data/prepare.h"

namespace lacuna {
namespace {

std::string summary(const std::string& file, const PreparedPart& part) {
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", double(part.bytes) / double(part.tokens));
  return str(file, ": ", with_commas(part.documents),
             part.documents == 1 ? " document, " : " documents, ", with_commas(part.tokens),
             " tokens, ", ratio, " bytes per token");
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
    std::string format = "text";
  };
  auto a = std::make_shared<Arguments>();
  PrepareOptions& o = a->options;
  CLI::App* command = app.add_subcommand("prepare", "Tokenise text into an HDF5 token file");
  command->add_option("--tokenizer", o.tokenizer, "tokenizer.json")->required();
  command->add_option("--input", o.inputs, "files of the corpus, or pipes")->required();
  command->add_option("--output", o.output, "token file to write")->required();
  command
      ->add_option("--format", a->format,
                   "text: a file is a document; jsonl: a line is one, in its text field")
      ->check(CLI::IsMember({"text", "jsonl", "chat"}))
      ->capture_default_str();
  command->add_option("--text-field", o.text_field, "jsonl: the field that holds the text")
      ->capture_default_str();
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
    if (a->format == "chat")
      fail_usage("--format chat arrives with fine-tuning (lacuna sft); use text or jsonl");
    a->options.format = a->format == "jsonl" ? CorpusFormat::jsonl : CorpusFormat::text;
    run(a->options);
  });
}

}  // namespace lacuna
