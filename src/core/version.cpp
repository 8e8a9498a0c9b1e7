#include "core/version.h"

namespace lacuna {

const char* program_version() { return "lacuna " LACUNA_VERSION; }

}  // namespace lacuna
