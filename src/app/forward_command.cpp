#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "app/backend_options.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/token_ids.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/tensor_of.h"
#include "core/text.h"
#include "formats/hdf5.h"
#include "model/head.h"
#include "model/model.h"
#include "model_io/loaded_model.h"

namespace lacuna {
namespace {

struct Arguments {
  std::string checkpoint, adapter, tokens, output;
  BackendOptions backend;
};

std::vector<std::int32_t> sequence(const Arguments& a, const ModelConfig& model) {
  std::vector<std::int32_t> ids = parse_token_ids(a.tokens, model.vocab_size);
  if (ids.empty()) fail_usage("--tokens: give at least one token id, as in \"1 2 3\"");
  if (std::int64_t(ids.size()) > model.max_seq_length)
    fail_usage(str("--tokens: ", ids.size(), " tokens; the model takes at most ",
                   model.max_seq_length, " (model.max_seq_length)"));
  return ids;
}

/// Logits [T,V] of hidden [T,C], a chunk of rows at a time. Error when one is not finite.
void write_logits(const std::string& path, Ops& ops, Head& head, Tensor hidden,
                  std::int64_t vocab_size) {
  AtomicFile output(path);
  h5::FileWriter file(output.partial());
  const std::int64_t rows = hidden.rows();
  file.create("/logits", {rows, vocab_size}, DType::f32);
  std::vector<float> on_host;
  for (std::int64_t first = 0; first < rows; first += head.chunk_rows()) {
    const std::int64_t count = std::min(head.chunk_rows(), rows - first);
    Tensor logits = head.logits(hidden.row_range(first, count));
    if (logits.place != Place::host || logits.dtype != DType::f32) {
      on_host.resize(std::size_t(logits.count()));
      const Tensor copy(on_host.data(), logits.shape);
      ops.copy(copy, logits);
      ops.synchronize();
      logits = copy;
    }
    for (std::int64_t row = 0; row < count; ++row) {
      const float* const x = logits.as<float>() + row * logits.stride;
      CHECK(std::all_of(x, x + vocab_size, [](float v) { return std::isfinite(v); }), kNotFinite);
    }
    file.write_rows("/logits", first, logits);
  }
  file.close();
  output.commit();
}

void run(const Arguments& a) {
  ModelSource source(a.checkpoint, adapters_of(a.adapter));
  const std::vector<std::int32_t> ids = sequence(a, source.config);
  const auto length = std::int64_t(ids.size());

  const LoadedModel loaded = load_model(std::move(source), a.backend.make(), a.backend.type());
  Ops& ops = *loaded.ops;
  const ModelConfig& config = loaded.config();
  const ModelWeights weights = loaded.weights;
  Model model(ops, config, weights, {length, 1, length, false});
  Head head(ops, config, weights,
            std::min(length, head_chunk_rows(config, weights.dtype, ops.place())), nullptr,
            HeadUse::logits);

  Sequences sequences = Sequences::equal(1, length);
  for (std::int32_t row = 0; row < length; ++row) sequences.logit_rows.push_back(row);
  const Tensor tokens = tensor_of(ids);
  write_logits(a.output, ops, head, model.forward(tokens, sequences), config.vocab_size);
  std::printf("%s: /logits [%lld,%lld] f32\n", printable(a.output).c_str(), (long long)length,
              (long long)config.vocab_size);
}

}  // namespace

void add_forward_command(Command app) {
  auto a = std::make_shared<Arguments>();
  const Command command =
      app.add_subcommand("forward", "Compute the logits of one sequence, for comparison");
  add_checkpoint_option(command, a->checkpoint);
  add_adapter_option(command, a->adapter);
  command.add_option("--tokens", a->tokens, "the sequence as token ids, \"1 2 3\"").required();
  command.add_option("--output", a->output, "HDF5 file to write: /logits [T,V] f32").required();
  a->backend.add_to(command);
  command.callback([a] { run(*a); });
}

}  // namespace lacuna
