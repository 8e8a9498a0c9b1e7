#include <cstdio>
#include <memory>
#include <string>

#include "app/command_line.h"
#include "app/commands.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

struct Arguments {
  std::string from, output;
};

void run(const Arguments& a) {
  if (a.from.empty()) fail_usage("--from: no folder was named");
  if (a.output.empty()) fail_usage("--output: no file was named");
  import_hugging_face(a.from, a.output);
  const CheckpointReader reader(a.output);
  std::int64_t parameters = 0;
  for (const std::string& name : reader.names("model"))
    parameters += reader.shape("model", name).count();
  std::printf("%s: %s parameters%s\n", printable(a.output).c_str(), with_commas(parameters).c_str(),
              reader.info().tokenizer.empty() ? ", without a tokenizer" : "");
}

}  // namespace

void add_import_command(Command app) {
  auto a = std::make_shared<Arguments>();
  const Command command = app.add_subcommand(
      "import", "Make a checkpoint of a Hugging Face LLaDA folder; its weights keep their dtype");
  command
      .add_option("folder,--from", a->from,
                  "folder with config.json, model.safetensors or shards with an index, and "
                  "tokenizer.json")
      .required();
  command.add_option("--output", a->output, "checkpoint file to write").required();
  command.callback([a] { run(*a); });
}

}  // namespace lacuna
