#include "core/atomic_file.h"

#include <fcntl.h>
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
}

AtomicFile::~AtomicFile() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(partial_, ignored);
}

void AtomicFile::commit() {
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

std::string read_file(const std::filesystem::path& path) {
  std::error_code error;
  CHECK(!std::filesystem::is_directory(path, error), path.string(), ": is a folder, not a file");
  std::ifstream in(path, std::ios::binary);
  CHECK(in, path.string(), ": ", std::strerror(errno));
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  CHECK(!in.bad(), path.string(), ": cannot read: ", std::strerror(errno));
  return content;
}

}  // namespace lacuna
