#include <algorithm>
#include <array>
#include <csignal>
#include <string>
#include <string_view>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/standard_io.h"
#include "app/startup_timeout.h"
#include "comm/mpi_session.h"
#include "core/check.h"
#include "core/text.h"
#include "core/version.h"

namespace {

constexpr std::array<std::string_view, 6> kOnRanks = {"pretrain", "sft",   "dpo",
                                                      "evaluate", "score", "sample"};

/// Every other command would do all its work once per rank, and write the same files.
void refuse_several_ranks(lacuna::Command program, const lacuna::MpiSession& session) {
  for (const lacuna::Command command : program.subcommands()) {
    const std::string name = command.name();
    if (std::find(kOnRanks.begin(), kOnRanks.end(), name) != kOnRanks.end()) continue;
    command.before_parsing([name, ranks = session.size()] {
      if (ranks > 1)
        lacuna::fail_usage(
            lacuna::str("lacuna ", name, " runs on one rank, and ", ranks, " were started; ",
                        lacuna::listed({kOnRanks.begin(), kOnRanks.end()}, "and"), " run on many"));
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error like a full disk
  const auto run = [&](lacuna::MpiSession& session) {
    lacuna::CommandLine line("lacuna",
                             "Masked-diffusion language models: train them, sample from them.");
    line.add_version(lacuna::program_version());
    const lacuna::Command app = line.program();
    app.require_subcommand();
    lacuna::add_tokenizer_command(app);
    lacuna::add_plan_command(app);
    lacuna::add_config_command(app);
    lacuna::add_prepare_command(app);
    lacuna::add_pretrain_command(app, session);
    lacuna::add_sft_command(app, session);
    lacuna::add_dpo_command(app, session);
    lacuna::add_sample_command(app, session);
    lacuna::add_serve_command(app);
    lacuna::add_score_command(app, session);
    lacuna::add_evaluate_command(app, session);
    lacuna::add_forward_command(app);
    lacuna::add_import_command(app);
    lacuna::add_export_command(app);
    lacuna::add_inspect_command(app);
    lacuna::add_bench_command(app);
    lacuna::add_doctor_command(app);
    refuse_several_ranks(app, session);
    const std::string answer = line.run(argc, argv);
    if (session.rank() == 0 && !answer.empty()) {
      lacuna::StandardOutput out;
      out.write(answer);
      out.flush();
    }
    return 0;
  };
  return lacuna::run_ranks(run, lacuna::startup_timeout(argc, argv));
}
