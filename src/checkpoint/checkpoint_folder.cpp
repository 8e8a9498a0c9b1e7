#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/hugging_face.h"
#include "core/log.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

struct Saved {
  std::int64_t step;
  fs::path path;
};

/// The step in "step-00001000.h5", or -1 for any other name.
std::int64_t step_of(const std::string& file) {
  constexpr std::string_view prefix = "step-", suffix = ".h5";
  if (file.size() <= prefix.size() + suffix.size() || !file.starts_with(prefix) ||
      !file.ends_with(suffix))
    return -1;
  const std::string digits =
      file.substr(prefix.size(), file.size() - prefix.size() - suffix.size());
  if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

/// Checkpoints of a run by falling step; a run that has none yet has none.
std::vector<Saved> saved_checkpoints(const fs::path& run_dir) {
  std::vector<Saved> saved;
  const fs::path folder = run_dir / "checkpoints";
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    if (const std::int64_t step = step_of(entry->path().filename().string()); step >= 0)
      saved.push_back({step, entry->path()});
  CHECK(!error || error == std::errc::no_such_file_or_directory, folder.string(), ": ",
        error.message());
  std::sort(saved.begin(), saved.end(),
            [](const Saved& a, const Saved& b) { return a.step > b.step; });
  return saved;
}

void remove_file(const fs::path& path) {
  std::error_code error;
  if (!fs::remove(path, error) && error)
    log_warning(path.string() + ": cannot remove: " + error.message());
}

/// Formats that hold weights without what a checkpoint needs beside them.
void check_checkpoint_format(const fs::path& file) {
  char start[4] = {};
  std::ifstream(file, std::ios::binary).read(start, sizeof start);
  const std::string name = file.string();
  CHECK(std::string_view(start, 4) != "GGUF", name,
        ": is a GGUF file, which lacuna writes and inspects but does not compute with; name the "
        "checkpoint or the Hugging Face folder that it was made from");
  CHECK(file.extension() != ".safetensors", name,
        ": holds weights alone; name the folder that has its config.json too");
}

}  // namespace

fs::path checkpoint_path(const fs::path& run_dir, std::int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%08lld.h5", static_cast<long long>(step));
  return run_dir / "checkpoints" / name;
}

void verify_checkpoint(const fs::path& path, Team& team) {
  std::string damage;
  try {
    open_model(path)->verify(team.rank(), team.size());
  } catch (const std::exception& e) {
    damage = e.what();
  }
  for (const std::string& found : team.gather(damage))
    if (!found.empty()) fail(found);
}

std::optional<fs::path> newest_valid_checkpoint(const fs::path& run_dir, Team& team) {
  // As the first member sees the folder.
  std::string paths;
  if (team.rank() == 0)
    for (const Saved& saved : saved_checkpoints(run_dir)) paths += saved.path.string() + '\0';
  paths = team.gather(paths)[0];
  for (std::size_t at = 0; at < paths.size(); at = paths.find('\0', at) + 1) {
    const fs::path path = paths.c_str() + at;
    try {
      verify_checkpoint(path, team);
      return path;
    } catch (const Error& e) {
      if (team.rank() == 0) log_warning(str("checkpoint skipped: ", e.what()));
    }
  }
  return std::nullopt;
}

std::optional<fs::path> newest_valid_checkpoint(const fs::path& run_dir) {
  Alone alone;
  return newest_valid_checkpoint(run_dir, alone);
}

void prune_checkpoints(const fs::path& run_dir, std::int64_t keep) {
  const std::vector<Saved> saved = saved_checkpoints(run_dir);
  if (keep > 0)
    for (std::size_t i = std::size_t(keep); i < saved.size(); ++i) remove_file(saved[i].path);
  std::error_code error;
  for (fs::directory_iterator entry(run_dir / "checkpoints", error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".partial" && step_of(path.stem().string()) >= 0) remove_file(path);
  }
}

fs::path resolve_checkpoint(const std::string& what) {
  CHECK(!what.empty(), "no checkpoint was named");
  fs::path path(what);
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
