#include "formats/staged_folder.h"

#include "core/check.h"

namespace lacuna {
namespace fs = std::filesystem;

namespace {

fs::path without_last_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

StagedFolder::StagedFolder(const fs::path& folder) : folder_(without_last_slash(folder)) {
  std::error_code error;
  existed_ = fs::is_directory(folder_, error);
  CHECK(existed_ || !fs::exists(folder_, error), folder_.string(), ": is a file, not a folder");
  staging_ = existed_ ? folder_ / ".export.partial" : folder_;
  if (!existed_) staging_ += ".partial";
  fs::remove_all(staging_, error);  // what an interrupted run left
  fs::create_directories(staging_, error);
  CHECK(!error, staging_.string(), ": cannot create the folder: ", error.message());
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

void StagedFolder::commit() {
  std::error_code error;
  if (!existed_) {
    fs::rename(staging_, folder_, error);
    CHECK(!error, folder_.string(), ": cannot rename ", staging_.string(), ": ", error.message());
    return;
  }
  for (const fs::directory_entry& file : fs::directory_iterator(staging_)) {
    const fs::path to = folder_ / file.path().filename();
    fs::rename(file.path(), to, error);
    CHECK(!error, to.string(), ": cannot replace: ", error.message());
  }
}

}  // namespace lacuna
