#include <cstdio>
#include <memory>
#include <string>

#include "app/command_line.h"
#include "app/commands.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_import.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "model_io/add_mask_token.h"

namespace lacuna {
namespace {

struct ImportArguments {
  std::string from, output;
  bool add_mask_token = false;
};

void run(const ImportArguments& a) {
  if (a.from.empty()) fail_usage("--from: no folder was named");
  if (a.output.empty()) fail_usage("--output: no file was named");
  if (a.add_mask_token) {
    const MaskTokenResult mask = import_with_mask_token(a.from, a.output);
    if (mask.is_new)
      log_info(str("the mask token <|mdm_mask|> is id ", mask.id, ", in a row that ",
                   mask.has_grown ? "is new" : "had no token", "; the tables have ",
                   with_commas(mask.rows), " rows"));
    else
      log_info(str("the model has a mask token, id ", mask.id));
  } else if (is_gguf_file(a.from)) {
    import_gguf(a.from, a.output);
  } else {
    import_hugging_face(a.from, a.output);
  }
  const CheckpointReader reader(a.output);
  std::int64_t parameters = 0;
  for (const std::string& name : reader.names("model"))
    parameters += reader.shape("model", name).count();
  std::printf("%s: %s parameters%s\n", printable(a.output).c_str(), with_commas(parameters).c_str(),
              reader.info().tokenizer.empty() ? ", without a tokenizer" : "");
}

}  // namespace

void add_import_command(Command app) {
  auto a = std::make_shared<ImportArguments>();
  const Command command = app.add_subcommand("import",
                                             "Make a checkpoint of a Hugging Face folder or a GGUF "
                                             "file; weights keep their dtype, those in "
                                             "blocks become f32");
  command
      .add_option("folder,--from", a->from,
                  "folder with config.json, model.safetensors or shards with an index, and "
                  "tokenizer.json; or a GGUF file")
      .required();
  command.add_option("--output", a->output, "checkpoint file to write").required();
  command.add_flag(
      "--add-mask-token", a->add_mask_token,
      "where the tokenizer has no mask token, add <|mdm_mask|> to it and to the tables, "
      "to continue an autoregressive model as a diffusion model");
  command.callback([a] { run(*a); });
}

}  // namespace lacuna
