#include "data/source_loader.h"

#include <filesystem>
#include <map>
#include <numeric>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {

std::vector<std::string> source_paths(const DataConfig& data) {
  if (data.sources.empty()) return {data.train};
  std::vector<std::string> paths;
  for (const DataSource& source : data.sources) paths.push_back(source.path);
  return paths;
}

std::vector<TokenFile> open_sources(const Config& config) {
  std::vector<TokenFile> files;
  std::int64_t vocab_size = config.model.vocab_size;
  std::map<std::string, std::string> sources;  // by their files, whatever these are called
  for (const std::string& path : source_paths(config.data)) {
    files.emplace_back(path, vocab_size);
    if (vocab_size == 0) vocab_size = files.back().vocab_size();
    for (const std::string& file : files.back().files()) {
      const auto [other, is_new] = sources.emplace(std::filesystem::canonical(file).string(), path);
      if (!is_new)
        fail_usage(str("data.sources: ", file, " is in both ", other->second, " and ", path,
                       "; its text would be read in the same order twice"));
    }
    const TokenFile &first = files.front(), &file = files.back();
    if (file.tokenizer_json().empty() || first.tokenizer_json().empty()) continue;
    if (file.tokenizer_json() != first.tokenizer_json())
      fail_usage(str("data.sources: ", file.path(), " and ", first.path(),
                     " were made with different tokenizers"));
  }
  if (vocab_size == 0)
    fail_usage(str(files.front().path(),
                   " is a Megatron dataset, which says nothing of its vocabulary; set "
                   "model.vocab_size, model.mask_token and model.eos_token"));
  for (TokenFile& file : files)  // whose ids are checked as they are read
    if (file.vocab_size() == 0) file = TokenFile(file.path(), vocab_size);
  return files;
}

const TokenFile& file_with_tokenizer(std::span<const TokenFile> files) {
  for (const TokenFile& file : files)
    if (!file.tokenizer_json().empty()) return file;
  return files.front();
}

void check_one_source(const DataConfig& data) {
  if (!data.sources.empty())
    fail_usage("data.sources is for lacuna pretrain; here data.train is learned from");
}

std::vector<Mixture::Stage> mixture_stages(const Config& config) {
  std::vector<Mixture::Stage> stages(1);
  for (const DataSource& source : config.data.sources)
    stages.front().weights.push_back(source.weight);
  for (const DataStage& stage : config.data.stages)
    stages.push_back({stage.from_step * config.train.batch_size, stage.weights});
  return stages;
}

SourceLoader::SourceLoader(const Config& config, std::span<const TokenFile> files)
    : separate_(config.data.documents == Documents::separate) {
  const auto seed = std::uint64_t(config.train.seed);
  for (std::size_t j = 0; j < files.size(); ++j) {
    loaders_.emplace_back(files[j], config.data.sequence_length, seed, config.data.documents, j);
    sources_.push_back({files[j].path(), files[j].tokens()});
    if (!config.data.sources.empty()) sources_[j].max_epochs = config.data.sources[j].max_epochs;
  }
  if (!config.data.sources.empty()) mixture_.emplace(mixture_stages(config), seed);
}

std::int64_t SourceLoader::windows() const {
  return std::accumulate(
      loaders_.begin(), loaders_.end(), std::int64_t{0},
      [](std::int64_t sum, const Loader& loader) { return sum + loader.windows(); });
}

void SourceLoader::batch(std::int64_t first_sample, std::int64_t count, Tensor tokens,
                         std::vector<RowDocuments>& documents) const {
  const Shape wanted{count, sequence_length()};
  CHECK(tokens.shape == wanted && tokens.contiguous() && tokens.place == Place::host, "a batch of ",
        wanted, " does not fit a tensor ", tokens);
  documents.resize(separate_ ? std::size_t(count) : 0);
  RowDocuments unused;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t sample = first_sample + i;
    const Mixture::Place place = mixture_ ? (*mixture_)(sample) : Mixture::Place{0, sample};
    loaders_[place.source].sample(place.number, tokens.as<std::int32_t>() + i * wanted[1],
                                  separate_ ? documents[std::size_t(i)] : unused);
  }
}

std::vector<SourceLoader::Use> SourceLoader::use_of(std::int64_t samples) const {
  std::vector<Use> uses = sources_;
  for (std::size_t j = 0; j < uses.size(); ++j) {
    uses[j].samples = mixture_ ? mixture_->drawn(j, samples) : samples;
    uses[j].epochs = double(uses[j].samples) / double(loaders_[j].windows());
  }
  return uses;
}

double most_useful_epochs(Objective objective) {
  return objective == Objective::autoregressive ? 4 : 100;
}

void check_max_epochs(const std::vector<SourceLoader::Use>& uses) {
  for (const SourceLoader::Use& use : uses)
    if (use.max_epochs > 0 && use.epochs > use.max_epochs)
      fail_usage(
          str("data.sources: ", use.path, " would be read ", format("%.3g", use.epochs),
              " times in this run, more than its max_epochs = ", format("%.6g", use.max_epochs),
              "; lower its weight, change it in data.stages, or shorten the run"));
}

}  // namespace lacuna
