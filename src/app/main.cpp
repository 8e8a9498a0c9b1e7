#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <string>

#include "app/commands.h"
#include "comm/mpi_session.h"
#include "core/check.h"

namespace {

/// Every other command would do all its work once per rank, and write the same files.
void refuse_several_ranks(CLI::App& app, const lacuna::MpiSession& session) {
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string name = command->get_name();
    if (name == "pretrain" || name == "sft") continue;
    command->preparse_callback([name, ranks = session.size()](std::size_t) {
      if (ranks > 1)
        lacuna::fail_usage(lacuna::str("lacuna ", name, " runs on one rank, and ", ranks,
                                       " were started; pretrain and sft run on many"));
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error like a full disk
  return lacuna::run_ranks([&](lacuna::MpiSession& session) {
    CLI::App app("Masked-diffusion language models: train them, sample from them.", "lacuna");
    app.require_subcommand(1);
    app.set_version_flag("--version", "lacuna 0.1.0");
    lacuna::add_tokenizer_command(app);
    lacuna::add_plan_command(app);
    lacuna::add_prepare_command(app);
    lacuna::add_pretrain_command(app, session);
    lacuna::add_sft_command(app, session);
    lacuna::add_sample_command(app);
    lacuna::add_score_command(app);
    lacuna::add_evaluate_command(app);
    lacuna::add_forward_command(app);
    lacuna::add_import_command(app);
    lacuna::add_export_command(app);
    lacuna::add_inspect_command(app);
    lacuna::add_bench_command(app);
    refuse_several_ranks(app, session);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& e) {  // --help, --version
      return session.rank() == 0 ? app.exit(e) : 0;
    } catch (const CLI::ParseError& e) {
      lacuna::fail_usage(e.what());
    }
    return 0;
  });
}
