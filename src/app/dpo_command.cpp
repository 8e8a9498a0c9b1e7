#include "app/commands.h"
#include "app/fine_tuning.h"

namespace lacuna {

void add_dpo_command(Command app, const MpiSession& session) {
  add_fine_tuning_command(app, session, "dpo",
                          "Tune a model to prefer one of two responses, by direct preference "
                          "optimization (lacuna prepare --format preference)",
                          dpo_task);
}

}  // namespace lacuna
