#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/check.h"

namespace lacuna {
namespace {

void sync_path(const std::filesystem::path& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  CHECK(fd >= 0, path.string(), ": ", std::strerror(errno));
  const int failed = fsync(fd);
  const int reason = errno;
  close(fd);
  // Some file systems cannot sync a folder; the file itself must be.
  CHECK(failed == 0 || (flags & O_DIRECTORY), path.string(), ": ", std::strerror(reason));
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  CHECK(!path_.empty(), "the file to write has no name");
  std::error_code error;
  // A link keeps pointing to its file; renaming would put the file in the link's place.
  if (std::filesystem::is_symlink(path_, error))
    if (auto target = std::filesystem::canonical(path_, error); !error) path_ = std::move(target);
  partial_ = path_;
  partial_ += ".partial";
  std::filesystem::create_directories(folder_of(path_), error);
  CHECK(!error, folder_of(path_).string(), ": cannot create the folder: ", error.message());
  CHECK(!std::filesystem::is_directory(path_, error), path_.string(), ": is a folder, not a file");
  // Renaming would replace even /dev/null, where the user may.
  CHECK(!std::filesystem::exists(path_, error) || std::filesystem::is_regular_file(path_, error),
        path_.string(), ": is a device or pipe, not a file");
  create_partial();
}

AtomicFile::~AtomicFile() {
  if (!committed_ && is_ours()) ::unlink(partial_.c_str());
  ::close(descriptor_);
}

void AtomicFile::create_partial() {
  const std::string cannot = path_.string() + ": cannot write";
  CHECK(::unlink(partial_.c_str()) == 0 || errno == ENOENT, cannot, " ", partial_.string(), ": ",
        std::strerror(errno));
  descriptor_ =
      ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  CHECK(descriptor_ >= 0, cannot, ": ", std::strerror(errno));
}

/// Whether the partial file is the one that was created, and not another process's.
bool AtomicFile::is_ours() const {
  struct stat ours {
  }, there{};
  return ::fstat(descriptor_, &ours) == 0 && ::lstat(partial_.c_str(), &there) == 0 &&
         ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

void AtomicFile::commit() {
  CHECK(is_ours(), path_.string(), ": cannot write: ", partial_.string(),
        " is no longer the file that was created; does another process write it, too?");
  sync_path(partial_, O_RDONLY);
  std::error_code error;
  std::filesystem::rename(partial_, path_, error);
  CHECK(!error, path_.string(), ": cannot rename ", partial_.string(), ": ", error.message());
  committed_ = true;
  sync_path(folder_of(path_), O_RDONLY | O_DIRECTORY);
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  {
    std::ofstream out(file.partial(), std::ios::binary);
    CHECK(out, path.string(), ": cannot write: ", std::strerror(errno));
    out.write(content.data(), std::streamsize(content.size()));
    out.close();
    CHECK(out, path.string(), ": cannot write: ", std::strerror(errno));
  }
  file.commit();
}

}  // namespace lacuna
