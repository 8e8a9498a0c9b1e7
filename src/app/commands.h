#pragma once

namespace lacuna {

class Command;
class MpiSession;

// Each adds its subcommand, whose callback runs it. Errors leave as exceptions; main.cpp prints
// them.
void add_bench_command(Command app);
void add_config_command(Command app);
void add_doctor_command(Command app);
void add_dpo_command(Command app, const MpiSession& session);
void add_evaluate_command(Command app, const MpiSession& session);
void add_export_command(Command app);
void add_forward_command(Command app);
void add_import_command(Command app);
void add_inspect_command(Command app);
void add_plan_command(Command app);
void add_prepare_command(Command app);
void add_pretrain_command(Command app, const MpiSession& session);
void add_sample_command(Command app, const MpiSession& session);
void add_score_command(Command app, const MpiSession& session);
void add_serve_command(Command app);
void add_sft_command(Command app, const MpiSession& session);
void add_tokenizer_command(Command app);

}  // namespace lacuna
