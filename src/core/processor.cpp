#include "core/processor.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "core/text.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

/// "model name" and "AMD EPYC" of "model name\t: AMD EPYC"; both empty without a colon.
std::pair<std::string, std::string> key_and_value(const std::string& line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string::npos) return {};
  return {trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1))};
}

std::string value_of(const fs::path& file, const std::string& wanted) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (auto [key, value] = key_and_value(line); key == wanted) return value;
  return "";
}

bool is_version(const std::string& word) {
  return std::isdigit(static_cast<unsigned char>(word.front())) &&
         word.find('.') != std::string::npos &&
         word.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

bool Processor::has(const std::string& flag) const {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

Processor read_processor(const fs::path& cpuinfo) {
  Processor processor;
  std::ifstream in(cpuinfo);
  for (std::string line; std::getline(in, line);) {
    const auto [key, value] = key_and_value(line);
    if (key == "model name" && processor.model.empty()) processor.model = printable_line(value);
    if ((key == "flags" || key == "Features") && processor.flags.empty()) {  // x86 and ARM
      std::istringstream words(value);
      for (std::string word; words >> word;) processor.flags.push_back(word);
    }
  }
  return processor;
}

GpuDriver read_gpu_driver(const fs::path& folder) {
  GpuDriver driver;
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 …"
  std::istringstream words(value_of(folder / "version", "NVRM version"));
  for (std::string word; driver.version.empty() && words >> word;)
    if (is_version(word)) driver.version = word;
  std::error_code error;
  std::vector<fs::path> folders;
  for (fs::directory_iterator it(folder / "gpus", error), end; !error && it != end;
       it.increment(error))
    folders.push_back(it->path());
  std::sort(folders.begin(), folders.end());  // by their places on the bus
  for (const fs::path& gpu : folders)
    driver.gpus.push_back(printable_line(value_of(gpu / "information", "Model")));
  return driver;
}

std::string find_program(const std::string& name, const std::string& path) {
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path program = fs::path(folder.empty() ? "." : folder) / name;
    std::error_code error;
    if (fs::is_regular_file(program, error) && access(program.c_str(), X_OK) == 0)
      return program.string();
  }
  return "";
}

}  // namespace lacuna
