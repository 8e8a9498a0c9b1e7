#pragma once
#include <string>
#include <vector>

namespace lacuna {

/// A file of a corpus.
struct CorpusInput {
  std::string path;
  std::string label;  // what it is called wherever the corpus lies: its path within a named folder,
                      // or its name
};

/// The files that inputs name: themselves; of a folder those in it and in the folders below, sorted
/// by their paths, but for names that begin with '.' or '_'. With `extension`, of a folder only
/// files of that. Error for a folder without such a file; UsageError for a file that is named
/// twice.
std::vector<CorpusInput> input_list(const std::vector<std::string>& inputs,
                                    const std::string& extension = {});

}  // namespace lacuna
