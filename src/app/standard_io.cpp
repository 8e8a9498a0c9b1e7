#include "app/standard_io.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/check.h"

namespace lacuna {

void StandardOutput::write(std::string_view bytes) {
  CHECK(std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size(),
        "standard output: cannot write: ", std::strerror(errno));
}

void StandardOutput::flush() {
  CHECK(std::fflush(stdout) == 0, "standard output: cannot write: ", std::strerror(errno));
}

}  // namespace lacuna
