#include "training/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "core/log.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

bool has_checkpoints(const fs::path& run) {
  std::error_code error;
  for (fs::directory_iterator entry(run / "checkpoints", error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().extension() == ".h5") return true;
  return false;
}

/// Names of checkpoints in the order of their steps, which have at least eight digits.
bool later(const std::string& a, const std::string& b) {
  return a.size() != b.size() ? a.size() > b.size() : a > b;
}

/// What the newest valid checkpoint made skip must not count as newer than those yet to come: they
/// would be pruned in its favour.
void set_aside_later_than(const fs::path& checkpoint) {
  std::vector<fs::path> skipped;
  for (const auto& entry : fs::directory_iterator(checkpoint.parent_path()))
    if (entry.path().extension() == ".h5" &&
        later(entry.path().filename().string(), checkpoint.filename().string()))
      skipped.push_back(entry.path());
  for (const fs::path& path : skipped) {
    const fs::path aside = path.string() + ".damaged";
    std::error_code error;
    fs::rename(path, aside, error);
    CHECK(!error, path.string(), ": cannot rename to ", aside.string(), ": ", error.message());
    log_warning(path.string() + ": set aside as " + aside.filename().string());
  }
}

/// UsageError when `run` is no folder, or holds a run that is not to be resumed.
void check_folder(const fs::path& run, bool resume) {
  std::error_code error;
  if (fs::exists(run, error) && !fs::is_directory(run, error))
    fail_usage("train.output = " + run.string() + " is a file, not a folder");
  const bool begun = fs::exists(run / "config.toml", error) ||
                     fs::exists(run / "metrics.jsonl", error) || has_checkpoints(run);
  if (begun && !resume)
    fail_usage(str("train.output = ", run.string(),
                   " holds a run already: add --resume to go on with it, or choose another folder "
                   "(--set train.output=...)"));
}

}  // namespace

RunDirectory::RunDirectory(const std::string& path, bool resume, Team& team) : path_(path) {
  const bool first = team.rank() == 0;
  if (first) check_folder(path_, resume);
  if (!resume) return;
  checkpoint_ = newest_valid_checkpoint(path_, team);
  CHECK(!first || checkpoint_ || !has_checkpoints(path_), (path_ / "checkpoints").string(),
        ": none of the checkpoints is valid, so there is nothing to resume from; to begin anew, "
        "choose another train.output or remove them");
}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) close(lock_);
}

void RunDirectory::open(const Config& config) {
  std::error_code error;
  fs::create_directories(path_, error);
  CHECK(!error, path_.string(), ": cannot create the folder: ", error.message());
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(lock_ >= 0, path_.string(), ": ", std::strerror(errno));
  // Where the file system has no locks, none is held.
  CHECK(flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, path_.string(),
        ": another process is training there");
  if (checkpoint_) set_aside_later_than(*checkpoint_);
  write_file(path_ / "config.toml", to_toml(config));
}

}  // namespace lacuna
