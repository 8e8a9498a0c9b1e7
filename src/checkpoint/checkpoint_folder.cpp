#include <algorithm>
#include <cstdio>
#include <new>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/hugging_face.h"
#include "core/input_file.h"
#include "core/log.h"
#include "formats/damage.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

// While others save and prune, what was listed may be gone when it is opened.
constexpr int kMostListings = 10;

// First letter of what a rank reports to the others; a checkpoint that verifies gives no report.
constexpr char kDamage = 'd', kOtherError = 'e';

template <class Call>
std::string finding(const fs::path& path, Call&& call) {
  try {
    call();
    return "";
  } catch (const DamagedFile& e) {
    return kDamage + std::string(e.what());
  } catch (const std::bad_alloc&) {
    return kOtherError + path.string() + ": there is too little memory to verify it";
  } catch (const std::exception& e) {
    return kOtherError + std::string(e.what());
  }
}

/// The same on all members. A file that one of them could not read may be good: that goes first.
void throw_findings(const std::vector<std::string>& of_all) {
  for (const std::string& f : of_all)
    if (f.starts_with(kOtherError)) fail(f.substr(1));
  for (const std::string& f : of_all)
    if (f.starts_with(kDamage)) throw DamagedFile(f.substr(1));
}

void remove_file(const fs::path& path) {
  std::error_code error;
  if (!fs::remove(path, error) && error)
    log_warning(path.string() + ": cannot remove: " + error.message());
}

/// Formats that hold weights without what a checkpoint needs beside them.
void check_checkpoint_format(const fs::path& file) {
  const std::string name = file.string();
  CHECK(file.extension() != ".safetensors", name,
        ": holds weights alone; name the folder that has its config.json too");
}

}  // namespace

fs::path checkpoint_path(const fs::path& run_dir, std::int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%08lld.h5", static_cast<long long>(step));
  return run_dir / "checkpoints" / name;
}

std::int64_t step_of_name(const std::string& file, std::string_view suffix) {
  constexpr std::string_view prefix = "step-";
  if (file.size() <= prefix.size() + suffix.size() || !file.starts_with(prefix) ||
      !file.ends_with(suffix))
    return -1;
  const std::string digits =
      file.substr(prefix.size(), file.size() - prefix.size() - suffix.size());
  if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

std::vector<fs::path> saved_checkpoints(const fs::path& run_dir) {
  std::vector<std::pair<std::int64_t, fs::path>> saved;
  const fs::path folder = run_dir / "checkpoints";
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::int64_t step = step_of_name(entry->path().filename().string());
    std::error_code unknown;  // then opening it tells why
    const fs::file_status status = entry->status(unknown);
    if (step >= 0 && (!fs::status_known(status) || fs::is_regular_file(status)))
      saved.emplace_back(step, entry->path());
  }
  CHECK(!error || error == std::errc::no_such_file_or_directory ||
            error == std::errc::not_a_directory,
        folder.string(), ": ", error.message());
  std::sort(saved.rbegin(), saved.rend());
  std::vector<fs::path> paths;
  for (auto& [step, path] : saved) paths.push_back(std::move(path));
  return paths;
}

void verify_checkpoint(const fs::path& path, ProcessGroup& team) {
  throw_findings(
      team.gather(finding(path, [&] { open_stored(path)->verify(team.rank(), team.size()); })));
}

FoundCheckpoint find_checkpoint(const fs::path& run_dir, ProcessGroup& team) {
  for (int listing = 1;; ++listing) {
    // As the first member sees the folder.
    std::string paths;
    if (team.rank() == 0)
      for (const fs::path& path : saved_checkpoints(run_dir)) paths += path.string() + '\0';
    paths = team.gather(paths)[0];
    FoundCheckpoint found;
    bool again = false;
    for (std::size_t at = 0; at < paths.size() && !again; at = paths.find('\0', at) + 1) {
      const fs::path path = paths.c_str() + at;
      try {
        verify_checkpoint(path, team);
        found.newest = path;
        return found;
      } catch (const DamagedFile& e) {
        if (team.rank() == 0) log_warning(str("checkpoint skipped: ", e.what()));
        found.skipped.push_back(path);
      } catch (const Error& e) {
        std::error_code ignored;
        const bool gone = team.rank() == 0 && !fs::exists(path, ignored);
        again = team.gather(gone ? "gone" : "")[0] == "gone" && listing < kMostListings;
        if (!again)
          fail(str(e.what(), "; only damaged checkpoints are passed over: to use the one before, ",
                   "move this one out of the folder"));
      }
    }
    if (!again) return found;
  }
}

std::optional<fs::path> newest_valid_checkpoint(const fs::path& run_dir) {
  SingleProcess alone;
  return find_checkpoint(run_dir, alone).newest;
}

void prune_checkpoints(const fs::path& run_dir, std::int64_t keep) {
  const std::vector<fs::path> saved = saved_checkpoints(run_dir);
  if (keep > 0)
    for (std::size_t i = std::size_t(keep); i < saved.size(); ++i) remove_file(saved[i]);
  std::error_code error;
  for (fs::directory_iterator entry(run_dir / "checkpoints", error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (step_of_name(path.filename().string(), ".h5.partial") >= 0) remove_file(path);
  }
}

fs::path resolve_checkpoint(const std::string& what) {
  CHECK(!what.empty(), "no checkpoint was named");
  fs::path path(what);
  if (names_average(path)) {
    const std::string named = what.substr(0, what.size() - kAverageSuffix.size());
    const fs::path found = resolve_checkpoint(named);
    CHECK(found.extension() == ".h5" && !fs::is_directory(found), what,
          ": only a checkpoint of this program has a moving average of its weights");
    const fs::path average = found.native() + std::string(kAverageSuffix);
    const CheckpointReader holds_it(average);
    return average;
  }
  CHECK(fs::exists(path), what, ": no such checkpoint file or run folder");
  if (!fs::is_directory(path)) {
    check_checkpoint_format(path);
    return path;
  }
  if (is_hugging_face_folder(path)) return path;
  // A run's folder, or the folder of checkpoints within it.
  if (const fs::path folder = fs::canonical(path);
      folder.filename() == "checkpoints" && !fs::exists(folder / "checkpoints"))
    path = folder.parent_path();
  const std::optional<fs::path> newest = newest_valid_checkpoint(path);
  CHECK(newest, what, ": holds no valid checkpoint (checkpoints/step-*.h5)");
  return *newest;
}

}  // namespace lacuna
