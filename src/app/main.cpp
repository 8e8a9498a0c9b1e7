#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "app/commands.h"
#include "core/check.h"
#include "core/log.h"

namespace {

int report(const std::exception& e, int code) {
  lacuna::log_progress("");
  std::fprintf(stderr, "lacuna: %s\n", e.what());
  if (const auto* error = dynamic_cast<const lacuna::Error*>(&e);
      error && std::getenv("LACUNA_DEBUG"))
    std::fprintf(stderr, "  thrown at %s:%d\n", error->where.file, error->where.line);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error like a full disk
  CLI::App app("Masked-diffusion language models: train them, sample from them.", "lacuna");
  app.require_subcommand(1);
  app.set_version_flag("--version", "lacuna 0.1.0");
  lacuna::add_tokenizer_command(app);
  lacuna::add_prepare_command(app);
  lacuna::add_pretrain_command(app);
  lacuna::add_sample_command(app);
  lacuna::add_forward_command(app);
  lacuna::add_import_command(app);
  lacuna::add_export_command(app);
  lacuna::add_inspect_command(app);
  lacuna::add_bench_command(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return report(e, 2);
  } catch (const lacuna::UsageError& e) {
    return report(e, 2);
  } catch (const std::exception& e) {
    return report(e, 1);
  }
}
