#include "app/standard_io.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
StandardOutput::StandardOutput() : terminal_(isatty(STDOUT_FILENO) != 0) {}

void StandardOutput::write(std::string_view bytes) {
  if (!terminal_) return put(bytes);
  std::string text = std::move(unfinished_);
  text += bytes;
  const std::size_t end = text.size() - unfinished_utf8(text);
  unfinished_ = text.substr(end);
  put(printable(std::string_view(text).substr(0, end)));
}

void StandardOutput::put(std::string_view bytes) {
  CHECK(std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size(),
        "standard output: cannot write: ", std::strerror(errno));
}

void StandardOutput::flush() {
  put(printable(unfinished_));
  unfinished_.clear();
  CHECK(std::fflush(stdout) == 0, "standard output: cannot write: ", std::strerror(errno));
}

}  // namespace lacuna
