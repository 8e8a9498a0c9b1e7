#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>

#include "core/check.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "data/jsonl.h"
#include "data/permutation.h"
#include "data/prepare_detail.h"
#include "data/prepare_tokens.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {
namespace {

// What is read before the threads tokenise it, for each of them.
constexpr std::size_t kBatchBytesPerThread = std::size_t{4} << 20;
// Held-out parts of a single text: about a chapter long, but not more than these.
constexpr double kPartBytes = 4096;
constexpr std::int64_t kMostParts = 64;

/// A piece on its way from the reader to the writer.
struct Work {
  CorpusPiece piece;
  std::vector<std::int32_t> tokens;
  std::int64_t bytes = 0, invalid_bytes = 0, nul_bytes = 0;
  std::exception_ptr error;
  bool malformed = false;  // a record, which others may follow
};

/// Whether document `document` is for validation: of texts, of which each is a document, a number
/// of them is drawn; of other inputs each document on its own, as their number is not known.
bool to_validation(const PrepareOptions& options, std::int64_t document) {
  if (options.format != CorpusFormat::text || options.input >= 0)
    return held_out(options, document);
  if (options.validation.empty()) return false;
  const auto documents = std::int64_t(options.inputs.size());
  const auto wanted =
      std::clamp<std::int64_t>(std::llround(options.validation_fraction * double(documents)), 1,
                               std::max<std::int64_t>(1, documents - 1));
  const CounterRng rng{options.seed, Purpose::data_order, kSplitStream};
  return Permutation(documents, rng)(document) < wanted;
}

/// The whole of one preparation: read a batch, tokenise it on all threads, write it in order.
class Preparation {
 public:
  explicit Preparation(const PrepareOptions& o)
      : options_(o),
        tokenizer_(tokenizer_of(o)),
        reader_(o.inputs, o.format, cut_between_words(tokenizer_, Tokenizer::Special::as_text),
                o.text_field),
        malformed_(o.max_malformed),
        pool_(o.threads) {
    const TokenFileInfo info = token_file_info(tokenizer_, o, "every document");
    eos_ = std::int32_t(info.eos_token);
    if (!o.validation.empty()) cut_one_document();
    files_.emplace(o, info);
  }

  PrepareResult run() {
    std::vector<Work> batch;
    while (read_batch(reader_, kBatchBytesPerThread * std::size_t(pool_.size()), batch)) {
      pool_.for_each(std::int64_t(batch.size()),
                     [&](std::int64_t i, int) { tokenise(batch[std::size_t(i)]); });
      for (const Work& work : batch) write(work);
      report();
    }
    log_progress("");
    finish();
    return result_;
  }

 private:
  void cut_one_document() {
    if (options_.format != CorpusFormat::text || options_.inputs.size() != 1) return;
    if (options_.input >= 0) return;
    const std::int64_t bytes = reader_.text_bytes(0);
    CHECK(bytes >= 0, options_.inputs[0],
          ": the validation parts of a single document are spread over its length, which a pipe "
          "does not tell; give it as a file");
    const double size = double(bytes), fraction = options_.validation_fraction;
    const std::int64_t parts =
        options_.validation_parts > 0
            ? options_.validation_parts
            : std::clamp(std::int64_t(size * fraction / kPartBytes), std::int64_t{1}, kMostParts);
    // The end of each of `parts` equal stretches; of one, the tail.
    const double stretch = size / double(parts);
    std::vector<std::int64_t> splits;
    for (std::int64_t i = 0; i < parts; ++i) {
      splits.push_back(std::int64_t(stretch * (double(i) + 1 - fraction)));
      if (i + 1 < parts) splits.push_back(std::int64_t(stretch * double(i + 1)));
    }
    splits.push_back(bytes);
    std::int64_t before = 0;
    for (const std::int64_t at : splits) {
      CHECK(at > before, options_.inputs[0], ": ", counted(bytes, "byte"), " cannot be cut into ",
            counted(parts, "validation part"), " and others");
      before = at;
    }
    splits.pop_back();
    reader_.split_at(std::move(splits));
    one_document_ = true;
  }

  void tokenise(Work& work) const {
    if (work.error) return;
    try {
      CorpusPiece& piece = work.piece;
      if (options_.format == CorpusFormat::jsonl)
        piece.bytes = jsonl_text(piece.bytes, options_.text_field, reader_.place(piece));
      work.bytes = std::int64_t(piece.bytes.size());
      work.invalid_bytes = invalid_utf8_bytes(piece.bytes);
      work.nul_bytes = std::count(piece.bytes.begin(), piece.bytes.end(), '\0');
      work.tokens = tokenizer_.encode(piece.bytes, Tokenizer::Special::as_text);
      piece.bytes = {};
    } catch (const Error&) {
      work.error = std::current_exception();  // the first in the corpus is told, not in time
      work.malformed = options_.format == CorpusFormat::jsonl;
    } catch (...) {
      work.error = std::current_exception();
    }
  }

  void write(const Work& work) {
    if (work.malformed) return malformed_.add(work.error);
    if (work.error) std::rethrow_exception(work.error);
    result_.invalid_bytes += work.invalid_bytes;
    result_.nul_bytes += work.nul_bytes;
    if (work.bytes == 0) {
      ++result_.empty_documents;
      return;
    }
    const bool validation = one_document_ ? document_ % 2 == 1 : to_validation(options_, document_);
    DocumentWriter& file = files_->of(validation);
    PreparedPart& part = validation ? result_.validation : result_.train;
    file.append(work.tokens);
    part.bytes += work.bytes;
    if (!work.piece.ends_document) return;
    file.append({&eos_, 1});
    file.end_document();
    ++document_;
  }

  void report() {
    if (!log_is_terminal()) return;
    std::string line = str("tokenising: ", human_bytes(reader_.position()));
    if (reader_.size() > 0)
      line += str(" of text, ", 100 * reader_.consumed() / reader_.size(), " % of ",
                  human_bytes(reader_.size()));
    log_progress(str(line, ", ", with_commas(files_->tokens()), " tokens, ",
                     human_bytes(std::int64_t(double(reader_.position()) / stopwatch_.seconds())),
                     "/s"));
  }

  static void warn_of_bytes(std::int64_t n, const char* what) {
    if (n > 0)
      log_warning(str(counted(n, "byte"), " of the input ", n == 1 ? "is " : "are ", what,
                      "; kept as in the input"));
  }

  void finish() {
    files_->check_not_empty(options_, document_);
    files_->commit(result_.train, result_.validation);
    result_.malformed = malformed_.count();
    malformed_.warn();
    warn_of_bytes(result_.invalid_bytes, "not valid UTF-8");
    warn_of_bytes(result_.nul_bytes, "NUL");
  }

  const PrepareOptions& options_;
  Tokenizer tokenizer_;
  CorpusReader reader_;
  MalformedRecords malformed_;
  ThreadPool pool_;
  std::optional<PreparedFiles> files_;
  std::int32_t eos_ = -1;
  bool one_document_ = false;  // cut in parts: even ones to train on, odd ones to validate on
  std::int64_t document_ = 0;  // documents complete so far
  PrepareResult result_;
  const Stopwatch stopwatch_;
};

}  // namespace

PrepareResult prepare(const PrepareOptions& options) {
  check_prepare_options(options);
  if (options.format == CorpusFormat::megatron) return prepare_tokens(options);
  return Preparation(options).run();
}

}  // namespace lacuna
