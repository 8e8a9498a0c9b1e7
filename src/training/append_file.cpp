#include "training/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace lacuna {

AppendFile::AppendFile(const std::filesystem::path& path)
    : name_(path.string()),
      // Without waiting: of a FIFO's name it would be for a reader.
      fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666)) {
  CHECK(fd_ >= 0, name_, ": cannot write: ", std::strerror(errno));
}

AppendFile::~AppendFile() { close(fd_); }

void AppendFile::append(std::string_view record) {
  while (!record.empty()) {
    const ssize_t written = write(fd_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    CHECK(written > 0, name_, ": cannot write: ", std::strerror(errno));
    record.remove_prefix(std::size_t(written));
  }
}

}  // namespace lacuna
