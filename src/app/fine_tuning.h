#pragma once
#include "app/command_line.h"
#include "comm/mpi_session.h"
#include "training/task.h"

namespace lacuna {

/// Adds the subcommand of a kind of fine-tuning: of a checkpoint, by a configuration, on the task's
/// data. The session must outlive it.
void add_fine_tuning_command(Command app, const MpiSession& session, const char* name,
                             const char* description, TaskFactory task);

}  // namespace lacuna
