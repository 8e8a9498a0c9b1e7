#include "data/prepare_shards.h"

#include <filesystem>
#include <memory>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"
#include "data/megatron_tokens.h"
#include "data/prepare_detail.h"
#include "data/sha256.h"
#include "data/token_manifest.h"
#include "data/token_storage.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using ShardJson = nlohmann::ordered_json;

class Shards {
 public:
  explicit Shards(const ShardOptions& options)
      : options_(options), tokenizer_sha256_(sha256(tokenizer_of(options.each).json())) {
    CHECK(!options_.inputs.empty(), "no input files were given");
    if (options_.shard < 1 || options_.shard > options_.shards)
      fail_usage(
          str("--shard ", options_.shard, '/', options_.shards, " must be k/n with k from 1 to n"));
    for (const std::string& folder : {options_.output, options_.validation})
      if (!folder.empty() && fs::exists(folder) && !fs::is_directory(folder))
        fail_usage(folder + ": is a file, not a folder");
    if (options_.output == options_.validation)
      fail_usage("--validation and --output-dir name the same folder, " + options_.output);
  }

  ShardsResult run() {
    const auto n = std::int64_t(options_.inputs.size());
    const std::int64_t first = options_.shard - 1;
    for (std::int64_t i = first; i < n; i += options_.shards) prepare_input(i);
    // After that, so that of several processes the last one finds all done.
    for (std::int64_t i = 0; i < n; ++i)
      if (i % options_.shards != first) result_.missing += !done(i);
    if (result_.missing > 0) return result_;
    write_manifest(options_.output);
    if (!options_.validation.empty()) write_manifest(options_.validation);
    return result_;
  }

 private:
  fs::path file_of(const std::string& folder, std::int64_t i) const {
    return fs::path(folder) / ("shard-" + format("%05lld", static_cast<long long>(i)) + ".h5");
  }

  /// What decides the content of shard i. Neither where the input lies, nor how fast it is read.
  std::string made_of(std::int64_t i) const {
    const PrepareOptions& each = options_.each;
    const CorpusInput& input = options_.inputs[std::size_t(i)];
    fs::path file = input.path;
    if (each.format == CorpusFormat::megatron) file = megatron_index(file).value_or(file);
    std::error_code error;
    if (fs::exists(file, error) && !fs::is_regular_file(file, error))
      fail_usage(input.path + ": is no file; --output-dir needs files, which can be read again");
    const auto bytes = fs::file_size(file, error);
    CHECK(!error, file.string(), ": ", error.message());
    ShardJson json = {
        {"input", input.label}, {"bytes", bytes}, {"number", i}, {"format", word_of(each.format)}};
    if (each.format == CorpusFormat::jsonl || each.format == CorpusFormat::parquet)
      json["text_field"] = each.text_field;
    if (each.row_length > 0) json["row_length"] = each.row_length;
    if (!options_.validation.empty()) {
      json["validation_fraction"] = each.validation_fraction;
      json["seed"] = each.seed;
    }
    json["tokenizer_sha256"] = tokenizer_sha256_;
    return json_text(json);
  }

  static std::unique_ptr<TokenStorage> opened(const fs::path& file) {
    std::int64_t nothing = 0;  // what is in it was checked as it was written
    return open_hdf5_tokens(file, nothing);
  }

  bool done(std::int64_t i) const {
    bool all = true;
    for (const std::string& folder : {options_.output, options_.validation}) {
      if (folder.empty()) continue;
      const fs::path file = file_of(folder, i);
      if (!fs::exists(file)) {
        all = false;
        continue;
      }
      const std::string before = opened(file)->info.prepared_from, now = made_of(i);
      if (before != now)
        fail_usage(str(file.string(), ": was made of ", printable(before), ", not ", printable(now),
                       "; remove it, or name another --output-dir"));
    }
    return all;
  }

  void prepare_input(std::int64_t i) {
    if (done(i)) {
      ++result_.kept;
      return;
    }
    PrepareOptions one = options_.each;
    one.inputs = {options_.inputs[std::size_t(i)].path};
    one.output = file_of(options_.output, i).string();
    if (!options_.validation.empty()) one.validation = file_of(options_.validation, i).string();
    one.input = i;
    one.prepared_from = made_of(i);
    const PrepareResult made = prepare(one);
    log_info(str(one.inputs[0], " (", i + 1, " of ", options_.inputs.size(),
                 "): ", counted(made.train.documents + made.validation.documents, "document"), ", ",
                 counted(made.train.tokens + made.validation.tokens, "token")));
    ++result_.inputs;
    add(result_.prepared.train, made.train);
    add(result_.prepared.validation, made.validation);
    result_.prepared.empty_documents += made.empty_documents;
    result_.prepared.malformed += made.malformed;
  }
  static void add(PreparedPart& to, const PreparedPart& part) {
    to.documents += part.documents;
    to.tokens += part.tokens;
    to.bytes += part.bytes;
    to.rows += part.rows;
  }

  void write_manifest(const std::string& folder) const {
    TokenManifest manifest;
    manifest.tokenizer_sha256 = tokenizer_sha256_;
    for (std::size_t i = 0; i < options_.inputs.size(); ++i) {
      const fs::path file = file_of(folder, std::int64_t(i));
      const std::unique_ptr<TokenStorage> shard = opened(file);
      manifest.shards.push_back({shard->tokens > 0 ? file.filename().string() : std::string(),
                                 options_.inputs[i].label, shard->documents, shard->tokens});
    }
    CHECK(manifest.tokens() > 0, folder, ": would hold no document",
          folder == options_.validation
              ? "; choose a larger --validation-fraction, or another --seed"
              : "");
    write_file(fs::path(folder) / kManifestName, manifest_text(manifest));
  }

  const ShardOptions& options_;
  const std::string tokenizer_sha256_;
  ShardsResult result_;
};

}  // namespace

ShardsResult prepare_shards(const ShardOptions& options) { return Shards(options).run(); }

}  // namespace lacuna
