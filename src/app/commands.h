#pragma once
#include <CLI/App.hpp>

namespace lacuna {

class MpiSession;

// Each adds its subcommand, whose callback runs it. Errors leave as exceptions; main.cpp prints
// them.
void add_bench_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_forward_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_prepare_command(CLI::App& app);
void add_pretrain_command(CLI::App& app, const MpiSession& session);
void add_sample_command(CLI::App& app);
void add_score_command(CLI::App& app);
void add_sft_command(CLI::App& app, const MpiSession& session);
void add_tokenizer_command(CLI::App& app);

}  // namespace lacuna
