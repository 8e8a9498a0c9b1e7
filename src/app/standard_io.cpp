#include "app/standard_io.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// How many bytes at the end of `s` begin a UTF-8 character without completing it.
std::size_t unfinished_bytes(std::string_view s) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, s.size()); ++n) {
    const auto byte = static_cast<unsigned char>(s[s.size() - n]);
    if ((byte & 0xc0) == 0x80) continue;  // not the first of one
    const std::size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > n ? n : 0;
  }
  return 0;
}

}  // namespace

StandardOutput::StandardOutput() : terminal_(isatty(STDOUT_FILENO) != 0) {}

void StandardOutput::write(std::string_view bytes) {
  if (!terminal_) return put(bytes);
  std::string text = std::move(unfinished_);
  text += bytes;
  const std::size_t end = text.size() - unfinished_bytes(text);
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
