#include "data/input_list.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/check.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

std::vector<CorpusInput> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<CorpusInput> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with('.') || name.starts_with('_')) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    if (!entry->is_regular_file()) continue;
    if (!extension.empty() && entry->path().extension() != extension) continue;
    files.push_back({entry->path().string(), entry->path().lexically_relative(folder).string()});
  }
  CHECK(!error, folder.string(), ": ", error.message());
  CHECK(!files.empty(), folder.string(), ": is a folder without a file",
        extension.empty() ? "" : " that ends in ", extension);
  std::sort(files.begin(), files.end(),
            [](const CorpusInput& a, const CorpusInput& b) { return a.label < b.label; });
  return files;
}

}  // namespace

std::vector<CorpusInput> input_list(const std::vector<std::string>& inputs,
                                    const std::string& extension) {
  std::vector<CorpusInput> all;
  for (const std::string& input : inputs) {
    if (!fs::is_directory(input)) {
      all.push_back({input, fs::path(input).filename().string()});
      continue;
    }
    const std::vector<CorpusInput> files = files_in(input, extension);
    all.insert(all.end(), files.begin(), files.end());
  }
  std::map<std::string, std::string> known;
  for (const CorpusInput& input : all) {
    std::error_code error;
    if (!fs::is_regular_file(input.path, error)) continue;  // a pipe, or missing
    const std::string file = fs::canonical(input.path, error).string();
    const auto [other, is_new] = known.emplace(file, input.path);
    if (!is_new)
      fail_usage(other->second == input.path ? str("--input names ", input.path, " twice")
                                             : str("--input names ", input.path, " and ",
                                                   other->second, ", which are the same file"));
  }
  return all;
}

}  // namespace lacuna
