#include "training/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/atomic_file.h"
#include "core/log.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

/// What was passed over must not count as newer than the checkpoints yet to come: they would be
/// pruned in its favour.
void set_aside(const fs::path& path) {
  const fs::path aside = path.string() + ".damaged";
  std::error_code error;
  fs::rename(path, aside, error);
  CHECK(!error, path.string(), ": cannot rename to ", aside.string(), ": ", error.message());
  log_warning(path.string() + ": set aside as " + aside.filename().string());
}

}  // namespace

void check_run_folder(const fs::path& run, bool resume) {
  std::error_code error;
  if (fs::exists(run, error) && !fs::is_directory(run, error))
    fail_usage("train.output = " + run.string() + " is a file, not a folder");
  const bool begun = fs::exists(run / "config.toml", error) ||
                     fs::exists(run / "metrics.jsonl", error) || !saved_checkpoints(run).empty();
  if (begun && !resume)
    fail_usage(str("train.output = ", run.string(),
                   " holds a run already: add --resume to go on with it, or choose another folder "
                   "(--set train.output=...)"));
}

RunDirectory::RunDirectory(const std::string& path, bool resume, ProcessGroup& team)
    : path_(path), resume_(resume) {
  const bool first = team.rank() == 0;
  if (first) check_run_folder(path_, resume);
  if (!resume) return;
  std::error_code error;
  if (first && fs::is_directory(path_, error)) lock();
  found_ = find_checkpoint(path_, team);
  CHECK(!first || found_.newest || found_.skipped.empty(), (path_ / "checkpoints").string(),
        ": none of the checkpoints is valid, so there is nothing to resume from; to begin anew, "
        "choose another train.output or remove them");
}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) close(lock_);
}

void RunDirectory::lock() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(lock_ >= 0, path_.string(), ": ", std::strerror(errno));
  // Where the file system has no locks, none is held.
  CHECK(flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, path_.string(),
        ": another process is training there");
}

/// A folder that did not exist could not be locked before it was looked at, nor one without locks.
void RunDirectory::check_unchanged() const {
  if (!resume_) return check_run_folder(path_, false);
  for (const fs::path& saved : saved_checkpoints(path_)) {
    if (saved == found_.newest) return;
    const auto& skipped = found_.skipped;
    CHECK(std::find(skipped.begin(), skipped.end(), saved) != skipped.end(), saved.string(),
          ": was saved by another process while this one started; resume again");
  }
}

void RunDirectory::open(const Config& config) {
  std::error_code error;
  fs::create_directories(path_, error);
  CHECK(!error, path_.string(), ": cannot create the folder: ", error.message());
  if (lock_ < 0) lock();
  check_unchanged();
  for (const fs::path& skipped : found_.skipped) set_aside(skipped);
  write_file(path_ / "config.toml", to_toml(config));
}

}  // namespace lacuna
