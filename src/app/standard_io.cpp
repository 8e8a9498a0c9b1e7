#include "app/standard_io.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 16;

}  // namespace

std::string_view StandardInput::ahead(std::size_t bytes) {
  while (!at_end_ && buffer_.size() - begin_ < bytes) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t had = buffer_.size();
    buffer_.resize(std::max(bytes, had + kReadBytes));
    const ssize_t got = read(STDIN_FILENO, buffer_.data() + had, buffer_.size() - had);
    const int reason = errno;
    buffer_.resize(had + std::size_t(std::max<ssize_t>(0, got)));
    if (got < 0 && reason == EINTR) continue;
    CHECK(got >= 0, "standard input: cannot read: ", std::strerror(reason));
    at_end_ = got == 0;
  }
  return std::string_view(buffer_).substr(begin_);
}

std::string StandardInput::take(std::size_t bytes) {
  std::string taken = buffer_.substr(begin_, bytes);
  begin_ += taken.size();
  return taken;
}

void StandardOutput::write(std::string_view bytes) {
  CHECK(std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size(),
        "standard output: cannot write: ", std::strerror(errno));
}

void StandardOutput::flush() {
  CHECK(std::fflush(stdout) == 0, "standard output: cannot write: ", std::strerror(errno));
}

}  // namespace lacuna
