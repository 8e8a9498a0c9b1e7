#include "data/prepare_detail.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include "core/check.h"
#include "core/log.h"
#include "core/philox.h"
#include "core/text.h"

namespace lacuna {

bool held_out(std::int64_t document, double fraction, std::uint64_t seed) {
  const CounterRng rng{seed, Purpose::data_order, kSplitStream + std::uint64_t(document)};
  return rng.uniform53(0) < fraction;
}

bool held_out(const PrepareOptions& options, std::int64_t document) {
  // An input has fewer documents than these bits count.
  constexpr int kDocumentBits = 40;
  return !options.validation.empty() &&
         held_out((std::max<std::int64_t>(0, options.input) << kDocumentBits) + document,
                  options.validation_fraction, options.seed);
}

void check_prepare_options(const PrepareOptions& o) {
  if (o.output.empty()) fail_usage("--output names no file");
  const auto same = [](const std::string& a, const std::string& b) {
    std::error_code error;
    return a == b || std::filesystem::equivalent(a, b, error);
  };
  std::vector<std::string> outputs{o.output};
  if (!o.validation.empty()) {
    if (same(o.output, o.validation))
      fail_usage(str("--validation and --output name the same file, ", o.output));
    if (!(o.validation_fraction > 0 && o.validation_fraction < 1))
      fail_usage(
          str("--validation-fraction is ", o.validation_fraction, "; it must lie between 0 and 1"));
    if (o.validation_parts > 0 && (o.format != CorpusFormat::text || o.inputs.size() != 1))
      fail_usage(
          "--validation-parts is for a single text; of several documents, whole ones are held out");
    outputs.push_back(o.validation);
  }
  for (const std::string& output : outputs) {
    for (const std::string& input : o.inputs)
      if (same(input, output)) fail_usage(str(input, " is both an input and an output"));
    if (same(o.tokenizer, output))
      fail_usage(str(o.tokenizer, " is both the tokenizer and an output"));
  }
}

Tokenizer tokenizer_of(const PrepareOptions& options) {
  return options.tokenizer_json.empty()
             ? Tokenizer::load(options.tokenizer)
             : Tokenizer::from_json(options.tokenizer_json, options.tokenizer + ": tokenizer");
}

TokenFileInfo token_file_info(const Tokenizer& tokenizer, const PrepareOptions& options,
                              const char* each) {
  TokenFileInfo info{tokenizer.vocab_size(), tokenizer.mask_token(), tokenizer.eos_token(),
                     tokenizer.json()};
  info.row_length = options.row_length;
  info.prepared_from = options.prepared_from;
  CHECK(info.eos_token >= 0, options.tokenizer, ": has no end token, which must follow ", each,
        "; add one such as <|endoftext|>");
  return info;
}

void MalformedRecords::add(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    if (++count_ == 1) first_ = e.what();
    if (count_ <= most_) return;
    if (most_ == 0) throw;
    fail(str(e.what(), "; ", counted(most_, "malformed record"),
             " before it were left out, which is what --max-malformed allows"));
  }
}

void MalformedRecords::warn() const {
  if (count_ > 0)
    log_warning(str(counted(count_, "malformed record"), " left out; the first: ", first_));
}

PreparedFiles::PreparedFiles(const PrepareOptions& options, const TokenFileInfo& info) {
  if (!options.validation.empty()) validation_.emplace(options.validation, info);
  train_.emplace(options.output, info);
}

std::int64_t PreparedFiles::tokens() const {
  return train_->tokens() + (validation_ ? validation_->tokens() : 0);
}

void PreparedFiles::check_not_empty(const PrepareOptions& options, std::int64_t documents) {
  if (options.input >= 0) return;
  CHECK(documents > 0, options.inputs[0], options.inputs.size() > 1 ? " and the other inputs" : "",
        ": hold no text");
  if (!validation_) return;
  constexpr const char* advice =
      "; choose another --validation-fraction or --seed, or prepare the two parts separately";
  CHECK(validation_->documents() > 0, options.validation, ": would be empty: none of ",
        counted(documents, "document"), " was drawn at a fraction of ", options.validation_fraction,
        advice);
  CHECK(train_->documents() > 0, options.output, ": would be empty: each of ",
        counted(documents, "document"), " was drawn for validation", advice);
}

void PreparedFiles::commit(PreparedPart& train, PreparedPart& validation) {
  const auto finish = [](DocumentWriter& file, PreparedPart& part) {
    file.finish();
    part.tokens = file.tokens();
    part.documents = file.documents();
    part.rows = file.rows();
  };
  if (validation_) finish(*validation_, validation);
  finish(*train_, train);
  if (validation_) validation_->commit();
  train_->commit();
}

}  // namespace lacuna
