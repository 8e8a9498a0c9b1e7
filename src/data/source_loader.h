#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/loader.h"
#include "data/mixture.h"
#include "data/token_file.h"

namespace lacuna {

/// The samples of a run: of data.train, or of data.sources by their weights (data/mixture.h). A
/// function of the config, the files and a sample's global index alone.
class SourceLoader {
 public:
  /// `files`: of data.train, or one for each of data.sources; they must outlive the loader. Errors
  /// as Loader's and Mixture's, naming the source.
  SourceLoader(const Config& config, std::span<const TokenFile> files);

  std::int64_t sequence_length() const { return loaders_.front().sequence_length(); }
  /// Sequences in one pass over all files together.
  std::int64_t windows() const;
  /// Samples [first_sample, first_sample + count) into `tokens`, host i32 [count, T], and, where
  /// documents are separate, their documents [count].
  void batch(std::int64_t first_sample, std::int64_t count, Tensor tokens,
             std::vector<RowDocuments>& documents) const;

  /// What the first `samples` of a run take from each source.
  struct Use {
    std::string path;
    std::int64_t tokens = 0;   // in the source
    std::int64_t samples = 0;  // drawn from it
    double epochs = 0;         // passes over it that these are
    double max_epochs = 0;     // 0: no limit
  };
  std::vector<Use> use_of(std::int64_t samples) const;

 private:
  bool separate_;
  std::vector<Loader> loaders_;
  std::vector<Use> sources_;  // of no samples
  std::optional<Mixture> mixture_;
};

/// Opens data.train, or each of data.sources. Error when a file is in two sources, or their
/// tokenizers differ.
std::vector<TokenFile> open_sources(const Config& config);
/// The first of them that has a tokenizer, or the first.
const TokenFile& file_with_tokenizer(std::span<const TokenFile> files);
/// The paths of data.train or data.sources.
std::vector<std::string> source_paths(const DataConfig& data);
/// UsageError for data.sources, in fine-tuning and preference tuning.
void check_one_source(const DataConfig& data);
/// The stages of data.sources and data.stages in samples.
std::vector<Mixture::Stage> mixture_stages(const Config& config);
/// Passes over a source from which on more are of little use: 100 for diffusion (Prabhudesai et
/// al., arXiv:2507.15857), 4 for autoregressive models (Muennighoff et al., arXiv:2305.16264).
double most_useful_epochs(Objective objective);
/// UsageError naming the first source that would be read more often than its max_epochs.
void check_max_epochs(const std::vector<SourceLoader::Use>& uses);

}  // namespace lacuna
