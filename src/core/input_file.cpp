#include "core/input_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 16;

[[noreturn]] void refuse(const std::string& name, const struct stat& status) {
  if (S_ISDIR(status.st_mode)) fail(name + ": is a folder, not a file");
  fail(str(name, ": is not a regular file but ",
           S_ISFIFO(status.st_mode)   ? "a FIFO"
           : S_ISSOCK(status.st_mode) ? "a socket"
                                      : "a device"));
}

struct stat status_of(const std::string& name) {
  struct stat status {};
  CHECK(::stat(name.c_str(), &status) == 0, name, ": ", std::strerror(errno));
  return status;
}

/// A pipe without a name: a process that holds it has opened it for this one.
bool is_open_pipe(const std::string& name, const struct stat& status) {
  struct statfs system {};
  return S_ISFIFO(status.st_mode) && ::statfs(name.c_str(), &system) == 0 &&
         system.f_type == PIPEFS_MAGIC;
}

bool is_null_device(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

/// The descriptor of a file that is regular before and after it is opened. Asked before, because
/// opening a device can do something; and opened without waiting, because it may have been
/// replaced.
int open_regular(const std::string& name) {
  const struct stat before = status_of(name);
  if (!S_ISREG(before.st_mode)) refuse(name, before);
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  CHECK(descriptor >= 0, name, ": ", std::strerror(errno));
  struct stat after {};
  if (::fstat(descriptor, &after) == 0 && S_ISREG(after.st_mode)) return descriptor;
  ::close(descriptor);
  refuse(name, after);
}

/// Up to `most` bytes from where the descriptor is.
std::string read_bytes(int descriptor, std::size_t most, const std::string& name) {
  std::string content;
  while (content.size() < most) {
    const std::size_t had = content.size();
    content.resize(std::min(most, std::max(2 * had, kReadBytes)));
    const ssize_t got = ::read(descriptor, content.data() + had, content.size() - had);
    const int reason = errno;
    content.resize(had + std::size_t(std::max<ssize_t>(got, 0)));
    if (got < 0 && reason == EINTR) continue;
    CHECK(got >= 0, name, ": cannot read: ", std::strerror(reason));
    if (got == 0) break;
  }
  return content;
}

std::string read_whole(int descriptor, const std::string& name) {
  std::string content = read_bytes(descriptor, std::size_t(kLargestWholeFile) + 1, name);
  CHECK(std::int64_t(content.size()) <= kLargestWholeFile, name, ": is larger than ",
        human_bytes(kLargestWholeFile), ", the most that is read of such a file");
  return content;
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path)
    : name_(path.string()), descriptor_(open_regular(name_)) {
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0) bytes_ = std::int64_t(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

std::string InputFile::begin(std::size_t most) const {
  CHECK(::lseek(descriptor_, 0, SEEK_SET) == 0, name_, ": ", std::strerror(errno));
  return read_bytes(descriptor_, most, name_);
}

std::string read_file(const std::filesystem::path& path) {
  const InputFile file(path);
  CHECK(file.bytes() <= kLargestWholeFile, file.name(), ": has ", human_bytes(file.bytes()),
        "; at most ", human_bytes(kLargestWholeFile), " are read of such a file");
  return read_whole(file.descriptor(), file.name());
}

std::string read_named_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const struct stat status = status_of(name);
  if (!is_open_pipe(name, status) && !is_null_device(status)) return read_file(path);
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  CHECK(descriptor >= 0, name, ": ", std::strerror(errno));
  try {
    std::string content = read_whole(descriptor, name);
    ::close(descriptor);
    return content;
  } catch (...) {
    ::close(descriptor);
    throw;
  }
}

void check_data_source(const std::filesystem::path& path) {
  const std::string name = path.string();
  const struct stat status = status_of(name);
  if (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode) || is_null_device(status)) return;
  if (S_ISCHR(status.st_mode)) {
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const bool terminal = descriptor >= 0 && isatty(descriptor) != 0;
    if (descriptor >= 0) ::close(descriptor);
    if (terminal) return;
  }
  refuse(name, status);
}

}  // namespace lacuna
