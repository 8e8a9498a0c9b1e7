#include "app/commands.h"
#include "app/fine_tuning.h"

namespace lacuna {

void add_sft_command(Command app, const MpiSession& session) {
  add_fine_tuning_command(
      app, session, "sft",
      "Fine-tune a model on prompts with responses (lacuna prepare --format chat)", sft_task);
}

}  // namespace lacuna
