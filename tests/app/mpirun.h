#pragma once
// Jobs of several ranks of the built program. Their target defines LACUNA_MPIRUN.
#include <sstream>
#include <string>
#include <vector>

#include "core/check.h"

namespace lacuna::testing {

/// A launcher for Program.
inline std::vector<std::string> mpirun(int ranks) {
  std::vector<std::string> words;
  std::istringstream text(LACUNA_MPIRUN);
  for (std::string word; text >> word;) words.push_back(word);
  words.insert(words.end(), {"-n", str(ranks)});
  return words;
}

/// Lines of ours that tell why a job ended.
inline std::vector<std::string> error_lines(const std::string& err) {
  std::vector<std::string> lines;
  std::istringstream all(err);
  for (std::string line; std::getline(all, line);)
    if (line.starts_with("lacuna: ")) lines.push_back(line);
  return lines;
}

}  // namespace lacuna::testing
